"""Tiles are put together until starting a task costs little beside its work."""

import pytest

from tbseg_ops.forecast.batches import batch_size
from tbseg_ops.run import RunFolder
from tests.runs import planned, stack, through

TILE = (20, 24, 30)  # eight of them


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    planned(folder / "run", stack(folder / "slices"), tile=TILE)
    return folder / "run"


@pytest.mark.parametrize(
    ("places", "seconds", "size"),
    [
        (1, 0.0, 1),  # a task for each tile
        (1, 1e-9, 1),
        (1, 45.0, 8),  # small tiles: all in one task
        (2, 45.0, 4),  # but nobody is idle
        (3, 45.0, 2),
        (8, 45.0, 1),
        (100, 45.0, 1),
    ],
)
def test_so_much_work_and_nobody_idle(run, places, seconds, size):
    plan = RunFolder(run).plan
    assert batch_size(plan, places, seconds) == size
    made = plan.in_batches(size)
    tiles = [tile.name for number in range(made.batches) for tile in made.batch(number)]
    assert tiles == [tile.name for tile in plan.grid]


def test_a_batch_has_the_work_of_its_seconds(run):
    """By the guess of two million voxels a second; a tile here has 20 x 24 x 30 or fewer."""
    plan = RunFolder(run).plan
    assert batch_size(plan, 1, 3 * plan.grid[0].core.size / 2e6 * 1.01) == 3


def test_never_more_batches_than_the_spec_allows(run):
    plan = RunFolder(run).plan
    few = plan.model_copy(update={"spec": plan.spec.model_copy(update={"max_batches": 3})})
    assert batch_size(few, 8, 0.0) == 3


def test_an_earlier_run_tells_how_long_tiles_take(run, tmp_path):
    through(run, until="classify")
    ledger = RunFolder(run).records("classify")
    for name in ledger.names():
        ledger.put(ledger.get(name).model_copy(update={"seconds": 20.0}))
    plan = RunFolder(run).plan.model_copy(update={"earlier": (str(run),)})
    assert batch_size(plan, 1, 45.0) == 2
