"""OpenLineage, switched on: a run of the DAG by Airflow itself, its events written to files."""

import json
import os
import subprocess
import sys

import pytest

from tbseg_ops.run import RunFolder
from tests.airflow_home import make_home
from tests.runs import VESSELS, planned, stack, through

CANARY = "canary-90c2d4"
# The steps in between are taken as done: the run folder is that of a finished run.
RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

dag = DagBag(sys.argv[1]).dags["tbseg_segment"]
between = "ingest|split|calibrate|forecast|approve|classify|merge|verify"
print("STATE", dag.test(run_conf=json.loads(sys.argv[2]), mark_success_pattern=between).state)
"""


@pytest.fixture(scope="module")
def emitted(tmp_path_factory):
    """A run: its folder, and the texts of the events of its tasks."""
    folder = tmp_path_factory.mktemp("lineage")
    home, run, slices = make_home(folder / "home"), folder / "run", stack(folder / "slices")
    planned(run, slices, tile=(64, 64, 64))
    through(run)
    (folder / "events").mkdir()
    transport = {"type": "file", "log_file_path": str(folder / "events" / "event")}
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home.path),
        "PYTHONPATH": str(home.path / "plugins"),
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW_CONN_CANARY": json.dumps({"conn_type": "http", "password": CANARY}),
        "AIRFLOW_VAR_CANARY": CANARY,
        "TOKEN": CANARY,
    }
    conf = {
        "volume": str(slices),
        "classifier": str(VESSELS.classifier),
        "run": str(run),
        "tile": "64",
        "ingest": "copy",
    }
    program = ["-c", RUN, str(home.path / "dags" / "tbseg_segment.py"), json.dumps(conf)]
    for words in (["-m", "airflow", "db", "migrate"], program):
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "STATE success" in done.stdout, done.stdout
    return run, [path.read_text() for path in (folder / "events").iterdir()]


def event(texts, task, kind):
    """The one event of a task, its datasets as name: version."""
    found = [json.loads(text) for text in texts]
    (one,) = (
        e for e in found if e["job"]["name"] == f"tbseg_segment.{task}" and e["eventType"] == kind
    )
    datasets = [*one["inputs"], *one["outputs"]]
    assert {d["namespace"] for d in datasets} <= {"file"}
    return [
        {d["name"]: d["facets"].get("version", {}).get("datasetVersion") for d in one[side]}
        for side in ("inputs", "outputs")
    ]


def test_the_events_of_plan_and_publish(emitted):
    run, texts = emitted
    folder = RunFolder(run)
    plan, merged = folder.plan, folder.records("merge").get("volume")
    assert event(texts, "plan", "COMPLETE") == [
        {
            str(run.parent / "slices"): plan.inputs_digest,
            str(VESSELS.classifier): plan.classifier.digest,
        },
        {str(run / "plan.json"): None},
    ]
    assert event(texts, "publish", "COMPLETE") == [
        {str(run / "plan.json"): None, str(run / "segmentation.h5"): merged.content},
        {str(run / "report.html"): None, str(run / "ro-crate-metadata.json"): None},
    ]
    assert event(texts, "plan", "START") == [{}, {}]


def test_no_event_holds_a_secret(emitted):
    _, texts = emitted
    assert len(texts) > 4
    assert [text for text in texts if CANARY in text] == []
