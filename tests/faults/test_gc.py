"""gc that is killed, and gc while a run is going on."""

import shutil
import subprocess

import pytest

from tbseg_ops.datasets import changes, gc
from tbseg_ops.run.status import status
from tests.faults.test_kill import kill, start, wait_for
from tests.retention import add, linked, what_is_left
from tests.runs import command, datasets, files_below, last_json, same, tbseg

POINTS = {
    "marked:0001": True,
    "pruning:segmentation": True,
    "pruning:z000_y000_x000": False,
    "pruning:z001_y001_x001": False,
    "pruning:volume": False,
    "pruning:slab": False,
}
"""Where gc is killed, and whether run 0001 still has its result then."""


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """Dataset "brain" with two finished runs; one is kept."""
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    shutil.copytree(finished / "slices", tmp_path / "slices")
    add(tmp_path, tmp_path / "slices", keep_runs=1)
    shutil.copytree(finished / "run", tmp_path / "runs" / "0001")
    linked(tmp_path / "runs" / "0001", tmp_path / "runs" / "0002")
    return tmp_path / "runs"


@pytest.mark.parametrize(("point", "whole"), POINTS.items(), ids=POINTS)
def test_kill_9_in_the_middle(point, whole, runs, tmp_path):
    flag = tmp_path / "flag"
    newest = files_below(runs / "0002")
    process = start(flag, point, "gc", "--yes")
    wait_for(flag, process)
    kill(process)
    found = status(run=runs / "0001")
    assert (found.verified, found.segmentation is not None) == (whole, whole)
    assert found.pruned == ("segmentation", "classes", "tiles", "volume")
    if whole:
        assert same(
            datasets(runs / "0001" / "segmentation.h5"), datasets(runs / "0002/segmentation.h5")
        )
    else:
        assert sum(step.done for step in found.steps) < 18
    assert status(run=runs / "0002").verified
    assert files_below(runs / "0002") == newest
    assert changes(name="brain").reasons == ("unchanged",)
    gc(name="brain", remove=True)
    assert what_is_left(runs / "0001") == set()
    assert what_is_left(runs / "0002") == {"segmentation.h5", "classes", "volume", "volume.h5"}
    assert status(run=runs / "0002").verified


def test_gc_while_a_run_takes_pieces_over(runs, tmp_path):
    """It is in the middle of a tile: neither it nor what it takes from loses anything."""
    flag = tmp_path / "flag"
    expected = datasets(runs / "0002" / "segmentation.h5")
    process = start(flag, "taken:z001_y000_x001", "run", "--dataset", "brain", "--workers", "1")
    wait_for(flag, process)
    before = [files_below(runs / number) for number in ("0002", "0003")]
    done = last_json(tbseg("gc", "--yes", "--json"))
    assert [row["run"] for row in done["rows"]] == [str(runs / "0001")]
    assert [files_below(runs / number) for number in ("0002", "0003")] == before
    kill(process)
    assert gc(name="brain", remove=True) == ()
    again = last_json(tbseg("run", "--dataset", "brain", "--workers", "1", "--json"))
    assert (again["run"], again["computed"]) == (str(runs / "0003"), 0)
    assert same(datasets(runs / "0003" / "segmentation.h5"), expected)
    gc(name="brain", remove=True)
    assert what_is_left(runs / "0002") == set()


def test_no_run_begins_while_gc_removes(runs, tmp_path):
    flag = tmp_path / "flag"
    process = start(flag, "pruning:z000", "gc", "--yes")
    wait_for(flag, process)
    waiting = subprocess.Popen(command("plan", "--dataset", "brain"), stdout=subprocess.DEVNULL)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(8)
        assert not (runs / "claim.json").exists()
    finally:
        kill(process)
        assert waiting.wait(60) == 0
    assert (runs / "claim.json").exists()
    assert (runs / "0003" / "plan.json").exists()
