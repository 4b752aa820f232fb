"""Killed at every stage of taking a tile over: no wrong reuse, and the earlier run stays whole."""

import hashlib

import pytest

from tbseg_ops import steps
from tbseg_ops.run.status import status
from tests.faults.test_kill import kill, start, wait_for
from tests.runs import (
    copied,
    datasets,
    files_below,
    last_json,
    same,
    spec_of,
    tbseg,
    temporary_files,
    through,
)

POINTS = ["taking", "taken", "recording", "renaming", "renamed"]
NAME = "z001_y000_x000"


def digests(run):
    """Of all files of a run, by name."""
    return {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in files_below(run)
    }


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_while_a_tile_is_taken_over(point, finished, tmp_path):
    earlier, run, flag = copied(finished, tmp_path), tmp_path / "new", tmp_path / "flag"
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, earlier=(earlier,))
    through(run, until="split")
    before = digests(earlier)
    process = start(flag, f"{point}:{NAME}", "classify", "--run", run, "--workers", 1)
    wait_for(flag, process)
    kill(process)
    assert digests(earlier) == before
    again = last_json(tbseg("classify", "--run", run, "--workers", 1, "--json"))
    assert (again["computed"], again["reused"]) == (0, 8)
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(earlier / "segmentation.h5"))
    assert status(run=run).verified
    assert temporary_files(run) == []
    assert digests(earlier) == before


@pytest.mark.parametrize("step", ["ingest", "split"])
def test_kill_9_while_other_pieces_are_taken_over(step, finished, tmp_path):
    """A slab, and the record of a sub-volume that is not needed."""
    earlier, run, flag = copied(finished, tmp_path), tmp_path / "new", tmp_path / "flag"
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, earlier=(earlier,))
    if step == "split":
        through(run, until="ingest")
    point = "taken:slab" if step == "ingest" else f"renaming:{NAME}"
    process = start(flag, point, step, "--run", run, "--workers", 1)
    wait_for(flag, process)
    kill(process)
    results = through(run)
    assert [results[name].computed for name in ("ingest", "split", "classify")] == [0, 0, 0]
    assert same(datasets(run / "segmentation.h5"), datasets(earlier / "segmentation.h5"))


def test_what_vanishes_while_it_is_taken_over_is_made(finished, tmp_path):
    """The earlier run is removed between the plan and the work, as by hand."""
    earlier, run = copied(finished, tmp_path), tmp_path / "new"
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, earlier=(earlier,))
    through(run, until="split")  # the tiles' classes are there, so no sub-volume is cut
    for path in (earlier / "classes").iterdir():
        path.unlink()
    results = through(run)
    assert results["classify"].computed == 8
    assert same(datasets(run / "segmentation.h5"), datasets(earlier / "segmentation.h5"))


def test_a_tile_that_differs_is_seen_by_its_key(finished, tmp_path):
    """Records of another tile under a tile's name do not fit its key."""
    earlier, run = copied(finished, tmp_path), tmp_path / "new"
    records = earlier / "records" / "classify"
    other = (records / "z000_y000_x000.json").read_bytes()
    (records / f"{NAME}.json").write_bytes(other)
    (records / "z001_y001_x001.json").write_bytes(b"{")
    damaged = digests(earlier)
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, earlier=(earlier,))
    results = through(run)
    assert (results["classify"].computed, results["classify"].taken) == (2, 6)
    assert same(datasets(run / "segmentation.h5"), datasets(earlier / "segmentation.h5"))
    assert digests(earlier) == damaged  # not even a damaged record of it is touched
