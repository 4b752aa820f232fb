"""merge writes tiles in grid order, whoever reads them and whenever they come."""

import random
from pathlib import Path

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import IntegrityError
from tbseg_ops.run import Pool, RunFolder
from tbseg_ops.steps.merge import _Chunks, _in_order
from tests.faults.test_damage import chunk_of, flip
from tests.runs import copied, planned, through


@pytest.mark.parametrize("most", [0, 1, 5, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_tiles_come_in_grid_order_and_few_are_kept(most, seed):
    order = list(range(100))
    random.Random(seed).shuffle(order)
    alive, read_again, highest = set(), [], 0

    class Counted(list):
        """The chunks of one tile; it tells when nobody holds them any more."""

        def __init__(self, tile):
            super().__init__()
            self.tile = tile
            alive.add(tile)

        def __del__(self):
            alive.discard(self.tile)

    def read(tile):
        read_again.append(tile)
        return _Chunks(tile, Counted(tile))

    parts = (_Chunks(tile, Counted(tile)) for tile in order)
    found = []
    for part in _in_order(parts, read, most):
        found.append(part.tile)
        highest = max(highest, len(alive))
    assert found == sorted(order)
    assert highest <= most + 2  # those kept, the one that is written, and the one that just came
    assert len(set(read_again)) == len(read_again)
    assert bool(read_again) == (most < 100)


def test_tiles_that_come_in_order_are_not_read_again():
    def read(tile):
        raise AssertionError(tile)

    parts = (_Chunks(tile, None) for tile in range(5))
    assert [part.tile for part in _in_order(parts, read, 0)] == [0, 1, 2, 3, 4]


class Backwards:
    """A team that reads the last tile first."""

    workers, is_root = 1, True

    def map(self, work, pieces, *, short=False):
        for piece in reversed(pieces):
            yield work(piece)


@pytest.mark.parametrize("team", [Pool(2), Backwards()], ids=["pool", "backwards"])
def test_the_whole_file_is_the_same(team, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("tbseg_ops.processes.team._BEGIN_SECONDS", 0.0)  # workers from the first on
    run = tmp_path / "run"
    planned(run, finished / "slices")
    through(run, until="classify")
    steps.merge(run=run, team=team)
    merged: Path = RunFolder(run).segmentation_file
    assert merged.read_bytes() == (finished / "run" / "segmentation.h5").read_bytes()


@pytest.mark.parametrize("wrong", ["not classified", "damaged"])
def test_a_tile_that_is_not_there_as_recorded_is_named_and_nothing_is_merged(
    wrong, finished, tmp_path
):
    run, tile = copied(finished, tmp_path), "z001_y000_x001"
    folder = RunFolder(run)
    for step in ("merge", "verify"):
        folder.records(step).drop("volume")
    folder.segmentation_file.unlink()
    if wrong == "damaged":
        path = run / folder.records("classify").get(tile).file
        flip(path, chunk_of(path, "labels"))
    else:
        folder.records("classify").drop(tile)
    with pytest.raises(IntegrityError, match=wrong) as caught:
        steps.merge(run=run)
    assert caught.value.tile == tile
    assert not folder.segmentation_file.exists()
    assert folder.records("merge").get("volume") is None
