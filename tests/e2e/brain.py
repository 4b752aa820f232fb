"""A registered dataset in a real Airflow, and what its DAGs do with it."""

import re
import time
from contextlib import contextmanager

from tbseg_ops import datasets, steps
from tbseg_ops.run.status import status
from tests.e2e.deployment import DAG, REPROCESS
from tests.runs import VESSELS, same, spec_of, stack, tbseg, through
from tests.runs import datasets as arrays

RUN_ID = r"brain-\d{4}-\d\d-\d\dT\d{4}-[0-9a-f]{4}"
TILE = (20, 64, 64)  # two tiles in z: each instance of a task costs half a second


class Brain:
    """The dataset "brain" of the running Airflow, and what its DAGs do with it."""

    def __init__(self, airflow, folder):
        self.airflow, self.folder = airflow, folder
        self.slices = stack(folder / "slices")
        self.classifier = folder / "classifier.ilp"
        self.classifier.write_bytes(VESSELS.classifier.read_bytes())
        self.seen = self._all()  # another test module may have had a dataset of this name

    def _all(self):
        """The ids of all runs that were started for the dataset."""
        found = self.airflow.api.get(f"dags/{DAG}/dagRuns", limit=100)["dag_runs"]
        return {run["dag_run_id"] for run in found if re.fullmatch(RUN_ID, run["dag_run_id"])}

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
            if new := self._all() - self.seen:
                (run,) = new
                self.seen.add(run)
                return run
            assert time.monotonic() < end
            time.sleep(0.5)

    def no_new_run(self):
        return not self._all() - self.seen

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


@contextmanager
def looked_after(airflow, folder):
    """The dataset, while tbseg_reprocess is switched on; then it is off, and not registered."""
    airflow.pause(REPROCESS, False)
    yield Brain(airflow, folder)
    airflow.pause(REPROCESS)
    datasets.remove("brain")
