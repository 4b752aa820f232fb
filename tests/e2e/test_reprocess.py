"""Registered datasets in a real Airflow: what changed is told by content, and only that is done."""

import os
import re

import pytest

from tbseg_ops import datasets
from tbseg_ops.run import RunFolder
from tests.e2e.brain import RUN_ID, looked_after
from tests.runs import VESSELS
from tests.steps.test_identity import replaced

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def brain(airflow, tmp_path_factory):
    with looked_after(airflow, tmp_path_factory.mktemp("datasets")) as made:
        yield made


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
