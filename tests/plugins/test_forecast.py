"""The operators before the big step: what is measured, for which machines, and who is asked."""

from types import SimpleNamespace

import pytest

from tests.runs import planned

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


def context(clear_number=0, **xcoms):
    """As much of Airflow's context as the operators look at."""
    pushed = {}
    ti = SimpleNamespace(
        xcom_pull=lambda task_ids, key: xcoms[key],
        xcom_push=lambda key, value: pushed.__setitem__(key, value),
    )
    return {
        "ti": ti,
        "pushed": pushed,
        "dag_run": SimpleNamespace(clear_number=clear_number),
        "params": {"only_tiles": None, "calibration": 3},
    }


HOSTS = {"fit": 2, "slots": {"a": 2, "b": 40}}
MACHINES = {
    # name: (backend, report, wanted, tiles, (places, slots, measured, shares))
    "this machine": ("local", {"cores": 9}, 3, 100, (4, {}, 4, 1)),
    "nothing is wanted": ("local", {"cores": 9}, 0, 100, (4, {}, 0, 1)),
    "hosts": ("ssh", HOSTS, 3, 1000, (42, HOSTS["slots"], 16, 16)),
    "hosts, many tiles each": ("ssh", HOSTS, 30, 1000, (42, HOSTS["slots"], 60, 16)),
    "hosts, few tiles": ("ssh", HOSTS, 3, 8, (42, HOSTS["slots"], 6, 4)),
    "hosts, one tile": ("ssh", HOSTS, 3, 1, (42, HOSTS["slots"], 0, 1)),
    "pods": ("kubernetes", {}, 3, 100, (50, {"a pod": 50}, 3, 3)),
    "pods, one tile": ("kubernetes", {}, 3, 1, (50, {"a pod": 50}, 0, 1)),
}


@pytest.mark.parametrize("case", MACHINES.values(), ids=MACHINES)
def test_machines(case, monkeypatch):
    from tbseg_airflow.machines import Machines

    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "4")
    backend, report, wanted, tiles, (places, slots, measured, shares) = case
    found = Machines.of(backend, report, wanted, tiles)
    assert found == Machines(places, slots, measured, shares)
    kept = context()
    found.push(kept)
    assert Machines.pulled(context(**kept["pushed"])) == found


def test_doctor_gives_the_shares_of_the_calibration(tmp_path, monkeypatch):
    from tbseg_airflow.operators.doctor import TbsegDoctor

    from tbseg_ops.hosts.doctor import leave_token

    doctor = TbsegDoctor(task_id="doctor", run_dir=str(tmp_path), backend="ssh")
    for params, shares in (({}, ["0/4", "1/4", "2/4", "3/4"]), ({"only_tiles": "x"}, ["0/1"])):
        made = context(plan={"tiles": 8})
        made["ti"].run_id = "r"
        made["params"] |= params
        leave_token(tmp_path, "0" * 24)
        assert doctor._finish(made, {"step": "doctor", **HOSTS}) == shares
        assert made["pushed"]["machines"]["shares"] == len(shares)


def test_the_commands():
    from tbseg_airflow.operators.forecast import TbsegCalibrate, TbsegForecast

    machines = {"places": 3, "slots": {"a": 1, "b": 2}, "measured": 6, "shares": 3}
    made = context(machines=machines)
    calibrate = TbsegCalibrate(task_id="c", run_dir="/r", what="1/3", options=["--threads=2"])
    assert calibrate.title == "share 1/3"
    assert calibrate.command(made) == [
        *("tbseg", "calibrate", "--run=/r", "--json", "--threads=2"),
        *("--count=6", "--part=1/3", "--workers=1"),
    ]
    forecast = TbsegForecast(task_id="f", run_dir="/r", options=["--threads=2", ""])
    assert forecast.command(made) == [
        *("tbseg", "forecast", "--run=/r", "--json", "--threads=2"),
        *("--workers=3", "--slots=a=1", "--slots=b=2", "--batches"),
    ]
    here = context(machines={"places": 4, "slots": {}, "measured": 4, "shares": 1})
    assert calibrate.command(here)[-1] == "--workers=4"


@pytest.fixture
def approve(finished, tmp_path):
    """Makes the operator for a planned run."""
    from tbseg_airflow.operators.approval import TbsegApproval

    planned(tmp_path / "run", finished / "slices")
    return lambda hours, if_unfit="": TbsegApproval(
        task_id="approve", run_dir=str(tmp_path / "run"), most_hours=hours, if_unfit=if_unfit
    )


@pytest.fixture
def forecast(approve, tmp_path):
    from tbseg_ops.forecast import Workforce
    from tbseg_ops.forecast import forecast as forecast_of

    return forecast_of(run=tmp_path / "run", workforce=Workforce(2))


@pytest.mark.parametrize("hours", ["", "1", "0.5"])
def test_nobody_is_asked_for_little(approve, forecast, hours):
    assert approve(hours).execute(context(clear_number=2)) == {
        "approved_by": "not needed",
        "instance": "approve",
        "clear_number": 2,
    }


def test_what_is_asked(approve, forecast, monkeypatch):
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    asked = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **values: asked.update(values))
    made = context()
    made["task_instance"] = SimpleNamespace(id="1")
    with pytest.raises(TaskAwaitingInput) as waiting:
        approve("0.0001").execute(made)
    assert waiting.value.timeout is None
    assert asked["options"] == ["Approve", "Reject"]
    assert asked["subject"].startswith("run: go on for ")
    for part in ("0.0001 h", "**8 tiles**", "no tile measured yet", "of disk", "of memory"):
        assert part in asked["body"]


UNFIT = "100.0 % of the voxels are above all thresholds [of](http://this) _classifier_"


@pytest.fixture
def unfit(forecast, tmp_path):
    """The plan has a warning."""
    from tbseg_ops.forecast import Workforce
    from tbseg_ops.forecast import forecast as forecast_of
    from tbseg_ops.run import RunFolder

    folder = RunFolder(tmp_path / "run")
    folder.store(folder.plan.model_copy(update={"warnings": (UNFIT,)}), folder.inputs)
    forecast_of(run=tmp_path / "run", workforce=Workforce(2))


@pytest.mark.parametrize(
    ("hours", "if_unfit", "lines"),
    [
        ("", "yes", ["**The volume may not fit the classifier:**"]),
        ("99", "yes", ["**The volume may not fit the classifier:**"]),
        ("0.0001", "", ["More than the 0.0001 h for which nobody is asked."]),
    ],
)
def test_somebody_is_asked_if_it_does_not_fit(
    approve, unfit, monkeypatch, caplog, hours, if_unfit, lines
):
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    asked = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **values: asked.update(values))
    made = context()
    made["task_instance"] = SimpleNamespace(id="1")
    with pytest.raises(TaskAwaitingInput):
        approve(hours, if_unfit).execute(made)
    assert asked["subject"].endswith("? 1 warning(s)")
    assert asked["body"].splitlines()[:1] == lines
    shown = r"- 100.0 % of the voxels are above all thresholds \[of\]\(http://this\) \_classifier\_"
    assert shown in asked["body"].splitlines()


@pytest.mark.parametrize(("hours", "if_unfit"), [("", ""), ("99", "")])
def test_nobody_is_asked_of_what_does_not_fit_unless_it_is_wanted(approve, unfit, hours, if_unfit):
    assert approve(hours, if_unfit).execute(context())["approved_by"] == "not needed"


@pytest.mark.parametrize("hours", ["", "1"])
def test_nobody_is_asked_of_what_fits(approve, forecast, hours):
    assert approve(hours, "yes").execute(context())["approved_by"] == "not needed"


def test_without_a_forecast_the_run_is_not_let_through(approve):
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(StepRefused, match="no forecast"):
        approve("1").execute(context())


def test_answers(approve):
    import datetime

    from tbseg_airflow.outcome import StepRefused

    event = {
        "params_input": {},
        "responded_at": datetime.datetime.now(datetime.UTC),
        "responded_by_user": {"id": "7", "name": "ann"},
    }
    done = approve("1").execute_complete(context(3), {**event, "chosen_options": ["Approve"]})
    assert done == {"approved_by": "ann", "instance": "approve", "clear_number": 3}
    with pytest.raises(StepRefused, match="rejected by ann"):
        approve("1").execute_complete(context(), {**event, "chosen_options": ["Reject"]})
