"""What OpenLineage is told of each step. A run with the provider: tests/dags/test_lineage.py."""

import pytest

from tbseg_ops.run import RunFolder
from tests.runs import VESSELS, planned

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


def names(datasets, run):
    """Names relative to the run folder, or to the one around it."""
    assert {d.namespace for d in datasets} <= {"file"}
    return [d.name.removeprefix(f"{run}/").removeprefix(f"{run.parent}/") for d in datasets]


@pytest.mark.parametrize(
    ("step", "inputs", "outputs"),
    [
        ("plan", ["slices", str(VESSELS.classifier)], ["plan.json"]),
        ("doctor", ["plan.json", str(VESSELS.classifier)], []),
        ("ingest", ["plan.json", "slices"], ["volume.h5"]),
        ("split", ["plan.json", "volume.h5"], ["tiles"]),
        ("classify", ["plan.json", "tiles", str(VESSELS.classifier)], ["classes"]),
        ("merge", ["plan.json", "classes"], ["segmentation.h5"]),
        (
            "verify",
            ["plan.json", "segmentation.h5", "classes", str(VESSELS.classifier)],
            [],
        ),
        ("export", ["plan.json", "segmentation.h5", "volume.h5"], []),
        ("publish", ["plan.json", "segmentation.h5"], ["report.html", "ro-crate-metadata.json"]),
    ],
)
def test_files_of_a_step(finished, step, inputs, outputs):
    from tbseg_airflow.lineage import lineage

    run = finished / "run"
    told = lineage(step, str(run), done=True)
    assert (names(told.inputs, run), names(told.outputs, run)) == (inputs, outputs)
    for name in names(told.outputs, run):
        assert (run / name).exists()
    failed = lineage(step, str(run), done=False)
    assert (names(failed.inputs, run), names(failed.outputs, run)) == (inputs, [])


def test_every_task_of_the_dag_is_known(home):
    from airflow.dag_processing.dagbag import DagBag
    from tbseg_airflow.lineage import FILES

    dag = DagBag(dag_folder=str(home.path / "dags")).dags["tbseg_segment"]
    known = {task.task_id for task in dag.tasks if task.task_id != "approve"}  # runs no command
    assert set(FILES) == known


def test_a_mask_is_an_input(finished, tmp_path):
    from tbseg_airflow.lineage import lineage

    run = tmp_path / "run"
    slices = finished / "slices"
    planned(run, slices, mask=str(slices))
    found = [d.name for d in lineage("plan", str(run), done=True).inputs]
    assert found == [str(slices), str(VESSELS.classifier), str(slices)]
    assert lineage("merge", str(run), done=True).outputs[0].facets == {}


def test_versions_are_digests(finished):
    from tbseg_airflow.lineage import lineage

    run = finished / "run"
    (output,) = lineage("merge", str(run), done=True).outputs
    content = RunFolder(run).records("merge").get("volume").content
    assert output.facets["version"].datasetVersion == content


@pytest.mark.parametrize("run_dir", ["", "/nowhere/run"])
def test_without_a_plan_nothing_is_known(run_dir):
    from tbseg_airflow.operators.step import TbsegStep

    step = TbsegStep(task_id="t", step="plan", run_dir=run_dir)
    for told in (
        step.get_openlineage_facets_on_complete(None),
        step.get_openlineage_facets_on_failure(None),
    ):
        assert (told.inputs, told.outputs) == ([], [])
