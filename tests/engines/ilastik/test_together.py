"""One start of ilastik (its stand-in) for several tiles of a run."""

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.engines import at_once
from tbseg_ops.errors import ResourceError
from tbseg_ops.processes.team import Pool
from tbseg_ops.run import RunFolder
from tests import fake_ilastik
from tests.runs import VESSELS, datasets, planned, same, through
from tests.synthetic import write_stack


def counted(monkeypatch, path: Path, mode: str = "native") -> None:
    """The stand-in, which writes a line with the number of tiles for each of its starts."""
    words = [sys.executable, str(Path(fake_ilastik.__file__)), "--fake-mode", mode]
    monkeypatch.setenv("TBSEG_ILASTIK", shlex.join([*words, "--fake-starts", str(path)]))


def starts(path: Path) -> list[int]:
    """How many tiles each start was for, since this was asked last."""
    found = [int(line) for line in path.read_text().split()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def tile_file(folder: RunFolder, index: int) -> Path:
    return folder.path / folder.records("classify").get(folder.plan.grid[index].name).file


def test_ilastik_is_started_once_for_many_tiles(finished, tmp_path, monkeypatch):
    run, log = tmp_path / "run", tmp_path / "starts"
    counted(monkeypatch, log)
    planned(run, finished / "slices", engine="ilastik")
    through(run, until="split")
    said = []
    assert steps.classify(run=run, progress=lambda *what: said.append(what)).computed == 8
    assert starts(log) == [8]
    assert [what[2:] for what in said] == [(n, 8) for n in range(1, 9)]
    through(run)
    assert starts(log) == [8]  # the boxes of verify; no tile again
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
    steps.prove(run=run, boxes=5, engine="ilastik")
    assert starts(log) == [5]


def test_only_the_tiles_that_are_missing_go_to_ilastik(finished, tmp_path, monkeypatch):
    run, log = tmp_path / "run", tmp_path / "starts"
    counted(monkeypatch, log, "ramp")
    planned(run, finished / "slices", engine="ilastik")
    through(run, until="classify")
    assert starts(log) == [8]
    folder = RunFolder(run)
    for tile in (1, 4, 6):
        tile_file(folder, tile).unlink()
    result = steps.classify(run=run)
    assert (result.computed, result.reused) == (3, 5)
    assert starts(log) == [3]
    result = steps.classify(run=run)
    assert (result.computed, result.reused) == (0, 8)
    assert starts(log) == []
    again = tuple(folder.plan.grid[tile].name for tile in (2, 3))
    assert steps.classify(run=run, tiles=again).computed == 2
    assert starts(log) == [2]


def test_a_damaged_tile_among_finished_ones_is_computed_anew(finished, tmp_path, monkeypatch):
    """Its size is right, so that nobody knows before its turn."""
    run, log = tmp_path / "run", tmp_path / "starts"
    counted(monkeypatch, log, "ramp")
    planned(run, finished / "slices", engine="ilastik")
    through(run, until="classify")
    folder = RunFolder(run)
    first, second, third = (tile_file(folder, index) for index in (2, 3, 4))
    good = second.read_bytes()
    first.unlink()
    second.write_bytes(bytes(len(good)))
    third.unlink()
    starts(log)
    assert steps.classify(run=run).computed == 3
    assert starts(log) == [2, 1]
    assert second.read_bytes() == good


def test_tiles_before_the_failure_are_kept(finished, tmp_path, monkeypatch):
    run, log = tmp_path / "run", tmp_path / "starts"
    counted(monkeypatch, log, "killed")
    planned(run, finished / "slices", engine="ilastik")
    through(run, until="split")
    with pytest.raises(ResourceError, match="ended by signal 9"):
        steps.classify(run=run)
    kept = len(RunFolder(run).records("classify").names())
    assert kept in (6, 7)
    assert starts(log) == [8]
    counted(monkeypatch, log)
    assert steps.classify(run=run).computed == 8 - kept
    assert starts(log) == [8 - kept]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_the_tiles_evenly(workers, finished, tmp_path, monkeypatch):
    run, log = tmp_path / "run", tmp_path / "starts"
    counted(monkeypatch, log, "ramp")
    planned(run, finished / "slices", engine="ilastik")
    through(run, until="split")
    assert steps.classify(run=run, team=Pool(workers)).computed == 8
    assert sorted(starts(log)) == {2: [4, 4], 3: [2, 3, 3]}[workers]


def test_a_mask_goes_along(finished, tmp_path, monkeypatch):
    """Tiles without a voxel of it are not given to ilastik."""
    volume = VESSELS.raw()[..., 0]
    mask = np.zeros(volume.shape, np.uint8)
    mask[5:30, 10:20, 5:25] = 1
    write_stack(tmp_path / "mask", mask)
    log, results = tmp_path / "starts", {}
    for engine in ("native", "ilastik"):
        run = tmp_path / engine
        counted(monkeypatch, log)
        planned(run, finished / "slices", engine=engine, mask=str(tmp_path / "mask"))
        through(run, until="merge")
        results[engine] = datasets(run / "segmentation.h5")
    assert starts(log) == [2]
    assert same(results["native"], results["ilastik"])


def test_how_many_tiles_go_together():
    assert at_once("native", 10) == 1
    assert at_once("ilastik", 10) == at_once("ilastik", 1 << 21) == 16
    assert at_once("ilastik", 1 << 24) == 2
    assert at_once("ilastik", 1 << 30) == 1
