"""Tiles that are much too small: what they cost, said before anything is done."""

from math import prod

from tbseg_ops.forecast.disk import disk_needed
from tbseg_ops.forecast.samples import VOXELS_A_SECOND
from tbseg_ops.forecast.words import duration, size
from tbseg_ops.run import Plan

_MANY_TILES, _MUCH_AROUND = 1000, 8.0


def crowd_notes(made: Plan) -> tuple[str, ...]:
    """A note if there are very many tiles, and most of what is computed for them lies around them.

    It says how many, the disk, and the hours of one worker: a guess, from no measured tile.
    """
    grid = made.grid
    if len(grid) < _MANY_TILES:
        return ()
    some = [grid[i] for i in range(0, len(grid), len(grid) // _MANY_TILES)]
    around = sum(tile.box.size for tile in some) / sum(tile.core.size for tile in some)
    if around < _MUCH_AROUND:
        return ()
    hours = around * prod(made.shape) / VOXELS_A_SECOND[made.spec.engine] / 3600
    return (
        f"{len(grid):,} tiles of {' x '.join(map(str, grid.core))} are very small: with what each"
        f" needs around it, {around:.0f} times the volume is computed, {size(_disk(made))} of disk"
        f" and about {duration(hours)} of one worker (a guess); larger ones (--tile) need less,"
        " and give the same result",
    )


def _disk(made: Plan) -> int:
    return sum(disk_needed(made).values())
