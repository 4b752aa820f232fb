"""More changes of a registered dataset in a real Airflow, and runs that are in each other's way."""

import re

import pytest

from tbseg_ops.run import RunFolder
from tests.e2e.brain import RUN_ID, looked_after
from tests.e2e.deployment import DAG
from tests.runs import VESSELS, last_json, tbseg
from tests.steps.test_identity import replaced
from tests.steps.test_reuse import retrained
from tests.synthetic import write_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def brain(airflow, tmp_path_factory):
    """A dataset with a finished run."""
    with looked_after(airflow, tmp_path_factory.mktemp("datasets")) as made:
        made.add()
        made.looked()
        made.segmented()
        yield made


def test_a_retrained_classifier(airflow, brain, tmp_path):
    retrained(brain.classifier)
    decision, reasons = brain.looked()
    assert re.fullmatch(f"run 0002 is started as tbseg_segment/{RUN_ID}", decision)
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
