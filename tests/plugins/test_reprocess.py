"""Which datasets are looked at, and which runs are started: the operators without a scheduler."""

import re
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from tests.runs import VESSELS

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Datasets by name, each with a schedule or without, and a folder of runs of its own."""
    from tbseg_ops import datasets
    from tbseg_ops.run import RunSpec

    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))

    def add(name, schedule=True):
        spec = RunSpec.of(volume=str(tmp_path / "v.h5:/v"), classifier=str(VESSELS.classifier))
        datasets.add(
            name,
            datasets.Dataset.of(
                owner="ann",
                schedule=schedule,
                runs=str(tmp_path / name),
                backend="ssh",
                threads=2,
                spec=spec,
            ),
        )
        return datasets.Runs(tmp_path / name, name)

    return add


def context(checks=(), alive=(), params=None, events=(), run_id="scheduled__1"):
    """As much of Airflow's context as the operators look at; ``alive``: runs of tbseg_segment."""
    pushed = {}

    def count(dag_id, run_ids, states):
        assert (dag_id, states) == ("tbseg_segment", ["queued", "running"])
        return len(set(run_ids) & set(alive))

    from airflow.sdk import Asset

    ti = SimpleNamespace(
        run_id=run_id,
        xcom_pull=lambda task_ids: list(checks),
        xcom_push=pushed.__setitem__,
        get_dr_count=count,
    )
    found = {
        "ti": ti,
        "dag_run": SimpleNamespace(run_after=datetime(2026, 11, 26, 2, 30, tzinfo=UTC)),
        "params": {"datasets": None, "most": 10} | (params or {}),
        "triggering_asset_events": {Asset(uri): [] for uri in events},
    }
    return found, pushed


def check(name, needed=True, reasons="first run"):
    return {"dataset": name, "needed": needed, "reasons": reasons}


def decide(**values):
    from tbseg_airflow.operators.reprocess import ROWS, TbsegDecide

    found, pushed = context(**values)
    starts = TbsegDecide(task_id="decide").execute(found)
    return starts, {row["dataset"]: row["decision"] for row in pushed[ROWS]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["brain", "wrong"]),
        ({"params": {"datasets": ["idle", "idle"]}}, ["idle"]),
        ({"events": ["tbseg://idle/slices", "tbseg://other/segmentation"]}, ["idle"]),
        ({"events": ["s3://elsewhere/slices"]}, ["brain", "wrong"]),
    ],
)
def test_what_is_looked_at(registry, tmp_path, values, expected):
    """All with a schedule, unless the form or an event says otherwise; a wrong file, too."""
    from tbseg_airflow.operators.reprocess import TbsegDatasets

    registry("brain")
    registry("idle", schedule=False)
    (tmp_path / "registry" / "wrong.toml").write_text("owner = 3")
    assert TbsegDatasets(task_id="datasets").execute(context(**values)[0]) == expected


def test_a_run_is_claimed_and_started(registry):
    from tbseg_airflow.claims import holder_of

    from tbseg_ops import datasets

    runs = registry("brain")
    registry("calm")
    starts, decisions = decide(checks=[check("brain"), check("calm", False, "unchanged"), None])
    (start,) = starts
    assert start["conf"] == {
        "dataset": "brain",
        "backend": "ssh",
        "threads": 2,
        "workers": None,
        "task_seconds": 45.0,
        "approval_hours": None,
        "approval_if_unfit": False,
    }
    held = datasets.claim_of(runs)
    assert (held.run, held.holder) == ("0001", holder_of(start["trigger_run_id"]))
    assert decisions["calm"] == "no run"
    # The same task again, after it was killed: the same run, not another one.
    again, _ = decide(checks=[check("brain")])
    assert again == starts
    assert datasets.claim_of(runs) == held


def test_nobody_starts_beside_a_run_that_goes_on(registry):
    registry("brain")
    starts, _ = decide(checks=[check("brain")])
    first = starts[0]["trigger_run_id"]
    later = {"checks": [check("brain")], "run_id": "scheduled__2"}
    starts, decisions = decide(**later, alive=[first])
    assert starts == []
    assert decisions["brain"] == (
        f"waits: run 0001 is going on, held by airflow tbseg_segment/{first}"
    )
    # It has failed, or was never started: the next one takes its place.
    starts, _ = decide(**later)
    assert len(starts) == 1
    assert starts[0]["trigger_run_id"] != first


def test_somebody_elses_claim_is_left_alone(registry):
    from tbseg_ops import datasets

    runs = registry("brain")
    datasets.claim_next(runs, holder="tbseg plan by ann on rack1")
    starts, decisions = decide(checks=[check("brain")])
    assert starts == []
    assert "held by tbseg plan by ann on rack1" in decisions["brain"]
    assert datasets.claim_of(runs).holder == "tbseg plan by ann on rack1"


def test_no_more_than_so_many_at_a_time(registry):
    for name in ("a", "b", "c"):
        registry(name)
    checks = [check(name) for name in ("c", "b", "a")]
    starts, decisions = decide(checks=checks, params={"most": 2})
    assert [start["conf"]["dataset"] for start in starts] == ["a", "b"]
    assert decisions["c"].startswith("postponed")


FORM = {"dataset": "brain", "backend": "kubernetes", "task_seconds": 0.0}


def plan_command(alive=(), only_tiles=None):
    """What the task plan of the run "mine" runs for the dataset "brain"."""
    from tbseg_airflow.operators.plan import TbsegPlan

    found, _ = context(alive=alive, params={**FORM, "only_tiles": only_tiles})
    found["ti"].run_id = "mine"
    return TbsegPlan(task_id="plan", home="/home").command(found)


def test_a_run_by_hand_claims_its_dataset(registry):
    registry("brain")
    holder = "--holder=airflow tbseg_segment/mine"
    batches = ["--places=50", "--task-seconds=0.0"]
    expected = ["tbseg", "plan", "--json", *batches, "--dataset=brain", holder]
    assert plan_command() == expected
    assert plan_command(only_tiles="z000_y000_x000") == [*expected, "--again"]


def test_only_a_dead_run_is_superseded(registry):
    from tbseg_airflow.claims import holder_of

    from tbseg_ops import datasets

    runs = registry("brain")
    held = datasets.claim_next(runs, holder=holder_of("other"))
    assert not [word for word in plan_command(alive=["other"]) if "supersede" in word]
    assert plan_command()[-1] == f"--supersede={held.token}"
    mine = datasets.claim_next(runs, holder=holder_of("mine"), supersede=held.token)
    assert mine.run == held.run
    assert plan_command()[-1] == "--holder=airflow tbseg_segment/mine"  # its own already


def test_what_could_not_be_checked_makes_the_run_red(registry):
    from tbseg_airflow.operators.reprocess import ROWS, TbsegSummary
    from tbseg_airflow.outcome import StepRefused

    rows = [{"dataset": "a", "decision": "no run", "reasons": "unchanged"}]

    def pulled(task_ids, key="return_value"):
        return {("datasets", "return_value"): names, ("decide", ROWS): rows}[task_ids, key]

    names = ["a"]
    ti = SimpleNamespace(xcom_pull=pulled)
    assert TbsegSummary(task_id="summary").execute({"ti": ti}) == rows
    names = ["a", "b"]
    with pytest.raises(StepRefused, match="b: could not be checked"):
        TbsegSummary(task_id="summary").execute({"ti": ti})


def test_a_run_is_called_by_its_dataset_and_when_it_was_due():
    from tbseg_airflow.operators.reprocess import run_id_of

    due = datetime(2026, 11, 26, 2, 30, 59, tzinfo=timezone(timedelta(hours=1)))
    named = run_id_of("brain7", "scheduled__a", due)
    assert re.fullmatch(r"brain7-2026-11-26T0130-[0-9a-f]{4}", named)
    assert named == run_id_of("brain7", "scheduled__a", due)
    assert named != run_id_of("brain7", "scheduled__b", due)
