"""Registered datasets in a real Airflow: what changed is told by content, and only that is done."""

import os
import re
import time

import pytest

from tbseg_ops import datasets, steps
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.e2e.deployment import DAG, REPROCESS
from tests.runs import VESSELS, last_json, same, spec_of, stack, tbseg, through
from tests.runs import datasets as arrays
from tests.steps.test_identity import replaced
from tests.steps.test_reuse import retrained
from tests.synthetic import write_page

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


RUN_ID = r"brain-\d{4}-\d\d-\d\dT\d{4}-[0-9a-f]{4}"
TILE = (20, 64, 64)  # two tiles in z: each instance of a task costs half a second


class Brain:
    """The dataset "brain" of the running Airflow, and what its DAGs do with it."""

    def __init__(self, airflow, folder):
        self.airflow, self.folder = airflow, folder
        self.slices = stack(folder / "slices")
        self.classifier = folder / "classifier.ilp"
        self.classifier.write_bytes(VESSELS.classifier.read_bytes())
        self.seen = set()

    def add(self, *options):
        arguments = ["brain", self.slices, self.classifier, "--runs", self.folder / "runs"]
        tile = ",".join(map(str, TILE))
        done = tbseg("dataset", "add", *arguments, "--tile", tile, *options)
        assert done.returncode == 0, done.stderr

    @property
    def runs(self):
        return datasets.Runs(self.folder / "runs", "brain")

    def looked(self, **conf):
        """A run of tbseg_reprocess on demand; what it decided, and why."""
        body = {"logical_date": None, "conf": {"datasets": ["brain"], **conf}}
        run = self.airflow.api.post(f"dags/{REPROCESS}/dagRuns", body)["dag_run_id"]
        return self.decided(run)

    def decided(self, run):
        assert self.state(REPROCESS, run, 120) == "success"
        path = f"dags/{REPROCESS}/dagRuns/{run}/taskInstances/summary/xcomEntries/return_value"
        (row,) = self.airflow.api.get(path, deserialize="true")["value"]
        return row["decision"], row["reasons"]

    def state(self, dag, run, seconds):
        end = time.monotonic() + seconds
        while (state := self.airflow.api.get(f"dags/{dag}/dagRuns/{run}")["state"]) not in (
            "success",
            "failed",
        ):
            assert time.monotonic() < end, state
            time.sleep(0.3)
        return state

    def new_run(self, seconds=30):
        """The id of the run of tbseg_segment that was triggered since the last call."""
        end = time.monotonic() + seconds
        while True:
            found = self.airflow.api.get(f"dags/{DAG}/dagRuns", limit=100)["dag_runs"]
            new = {run["dag_run_id"] for run in found} - self.seen
            new = {run for run in new if re.fullmatch(RUN_ID, run)}
            if new:
                (run,) = new
                self.seen.add(run)
                return run
            assert time.monotonic() < end
            time.sleep(0.5)

    def no_new_run(self):
        found = self.airflow.api.get(f"dags/{DAG}/dagRuns", limit=100)["dag_runs"]
        return not {r["dag_run_id"] for r in found if "brain" in r["dag_run_id"]} - self.seen

    def segmented(self):
        """The new run, ended well: how many slabs and tiles each step computed, and its folder."""
        run = self.new_run()
        assert self.airflow.wait(run) == "success", self.airflow.states(run)
        mapped = ("calibrate", "classify")
        counts = {name: sum(self.airflow.computed(run, name)) for name in mapped}
        counts["split"] = self.airflow.result(run, "split")["computed"]
        counts["classify"] += counts.pop("calibrate")  # tiles of the run as any others
        counts["ingest"] = self.airflow.result(run, "ingest")["computed"]
        folder = self.runs.newest()
        assert status(run=folder).verified
        return counts, folder

    def assert_as_fresh(self, folder, tmp_path):
        """Bit for bit what a run gives that takes nothing over."""
        spec = spec_of(self.slices, classifier=str(self.classifier), tile=TILE)
        steps.plan(spec=spec, run=tmp_path / "fresh")
        through(tmp_path / "fresh", until="merge")
        expected = arrays(tmp_path / "fresh" / "segmentation.h5")
        assert same(arrays(folder / "segmentation.h5"), expected)


@pytest.fixture(scope="module")
def brain(airflow, tmp_path_factory):
    made = Brain(airflow, tmp_path_factory.mktemp("datasets"))
    airflow.pause(REPROCESS, False)
    yield made
    airflow.pause(REPROCESS)
    datasets.remove("brain")


def test_a_new_dataset_is_segmented_by_the_schedule(airflow, brain):
    brain.add("--schedule")
    run = brain.new_run(seconds=150)  # the schedule is every minute here
    brain.add("--no-schedule", "--replace")  # from now on only when it is asked for
    brain.seen.discard(run)
    counts, _ = brain.segmented()
    assert counts == {"ingest": 0, "split": 2, "classify": 2}  # plan refers to the slices
    assert brain.runs.numbers() == [1]
    assert datasets.claim_of(brain.runs) is None  # given up at the end


def test_nothing_touched_no_run(airflow, brain):
    os.utime(sorted(brain.slices.iterdir())[3])  # a new date is no change
    assert brain.looked() == ("no run", "unchanged")
    assert brain.no_new_run()


def test_a_replaced_slice_of_the_same_date(airflow, brain, tmp_path):
    replaced(brain.slices, 36, VESSELS.raw()[36, ::-1, ::-1, 0])
    grid = RunFolder(brain.runs.newest()).plan.grid
    affected = [tile for tile in grid if tile.box.lo[0] <= 36 < tile.box.hi[0]]
    decision, reasons = brain.looked()
    assert re.fullmatch(f"run 0002 is started as tbseg_segment/{RUN_ID}", decision)
    assert reasons == "1 slice was replaced: img_36.tif"
    counts, folder = brain.segmented()
    assert counts == {"ingest": 0, "split": len(affected), "classify": len(affected)}
    assert 0 < len(affected) < len(grid)
    brain.assert_as_fresh(folder, tmp_path)


def test_a_retrained_classifier(airflow, brain, tmp_path):
    retrained(brain.classifier)
    decision, reasons = brain.looked()
    assert decision.startswith("run 0003 is started")
    assert reasons.startswith("the classifier was ")
    counts, folder = brain.segmented()
    assert counts == {"ingest": 0, "split": 0, "classify": 2}
    brain.assert_as_fresh(folder, tmp_path)


def test_new_slices_are_announced_by_an_asset_event(airflow, brain, tmp_path):
    """An acquisition goes on: only the new part, and what its halo reaches, is computed."""
    before = RunFolder(brain.runs.newest()).plan.grid
    for z in range(37, 61):
        write_page(brain.slices / f"img_{z}.tif", VESSELS.raw()[z - 37, ..., 0])
    assets = airflow.api.get("assets", uri_pattern="tbseg://brain/slices")["assets"]
    (asset,) = [a for a in assets if a["uri"] == "tbseg://brain/slices"]
    airflow.api.post("assets/events", {"asset_id": asset["id"], "extra": {"slices": 24}})
    run = brain.new_run(seconds=120)
    brain.seen.discard(run)
    counts, folder = brain.segmented()
    after = RunFolder(folder).plan.grid
    kept = [t for t in after if t.box.hi[0] <= 37 and t.box == before.by_name(t.name).box]
    assert len(after) > len(before)
    assert counts["classify"] == len(after) - len(kept)
    brain.assert_as_fresh(folder, tmp_path)


def test_a_run_that_goes_on_is_waited_for(airflow, brain):
    """Somebody's run waits for approval when the next is due; a second one by hand is refused."""
    replaced(brain.slices, 5, VESSELS.raw()[5, ::-1, ::-1, 0])
    first = airflow.trigger(dataset="brain", approval_hours=0)
    airflow.until(first, "approve", "awaiting_input")
    decision, _ = brain.looked()
    assert decision.startswith("waits: run ")
    assert decision.endswith(f"is going on, held by airflow {DAG}/{first}")
    assert brain.no_new_run()
    second = airflow.trigger(dataset="brain")
    assert airflow.wait(second) == "failed"
    assert any("a run of dataset brain is going on" in line for line in airflow.log(second, "plan"))
    airflow.api.patch(f"dags/{DAG}/dagRuns/{first}", {"state": "failed"})  # by somebody's hand
    decision, reasons = brain.looked()
    assert decision.startswith("run ")
    assert "is incomplete" in reasons
    counts, _ = brain.segmented()
    assert counts["classify"] > 0
    assert last_json(tbseg("dataset", "check", "brain", "--json"))["datasets"][0]["reasons"] == [
        "unchanged"
    ]
