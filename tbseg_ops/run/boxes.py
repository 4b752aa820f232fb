"""Boxes of the merged file: drawn at random, and compared with what an engine gives for each.

Whoever checks a result without trusting its tiles predicts such a box with its own halo, in one
piece.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from random import Random

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines import Engine
from tbseg_ops.geometry import Box, Grid, Index, Tile
from tbseg_ops.hdf5.image import opened
from tbseg_ops.options import EngineName
from tbseg_ops.run import Plan, RunFolder
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.run.prediction import Prediction, predict_all, shares, written
from tbseg_ops.run.raw import SubVolume

# What ilastik may differ by: builds that do not fuse at the ends of rows have other last bits in
# another box, in up to 0.1 % of the probabilities (docs/exactness.md); here that is some voxels.
UNSTABLE_SHARE = 0.01


def halo_box(plan: Plan, box: Box) -> Box:
    """What must be read to predict ``box`` in one piece."""
    return plan.grid.halo_of(box)


def box_shares(
    plan: Plan, engine: EngineName, boxes: Sequence[Box], workers: int
) -> list[Sequence[Box]]:
    """``boxes`` as a worker is given them: see ``shares``."""
    largest = max((halo_box(plan, box).size for box in boxes), default=0)
    return shares(plan, engine, boxes, largest, workers)


def differences(
    folder: RunFolder,
    engine: Engine,
    read: Callable[[Box, Box], SubVolume],
    boxes: Sequence[Box],
) -> Iterator[tuple[Box, SubVolume, dict[str, tuple[int, float]]]]:
    """How each of a share of ``boxes`` of the merged file differs from what ``engine`` gives.

    ``read`` gives the voxels of a halo box and the mask of its core. For each dataset the number of
    voxels that differ, and the largest difference of their values.
    """
    plan = folder.plan
    asked = []
    for box in boxes:
        around = halo_box(plan, box)
        asked.append((read(around, box), box.relative_to(around.lo)))
    with closing(predict_all(plan, engine, asked)) as predictions:
        for box, (part, core), prediction in zip(boxes, asked, predictions, strict=True):
            raw = part.raw[core.slices]
            yield box, part, _differences(folder, prediction, raw, box)


def _differences(
    folder: RunFolder, prediction: Prediction, raw: NDArray[np.generic], box: Box
) -> dict[str, tuple[int, float]]:
    arrays, _ = written(folder.plan, prediction, raw, str(box.lo))
    with opened(folder.segmentation_file) as file:
        return {
            name: _difference(file[name][box.slices], wanted) for name, wanted in arrays.items()
        }


def _difference(found: NDArray[np.generic], wanted: NDArray[np.generic]) -> tuple[int, float]:
    unlike = ~np.isclose(found, wanted, rtol=0, atol=0, equal_nan=True)
    voxels = unlike if unlike.ndim == 3 else unlike.any(axis=-1)
    with np.errstate(invalid="ignore"):  # intensities may be infinite
        apart = np.abs(found[unlike].astype(np.float64) - wanted[unlike].astype(np.float64))
    return int(np.count_nonzero(voxels)), float(apart.max(initial=0.0))


def drawn(
    folder: RunFolder, counts: Sequence[tuple[int, ...]], side: int, number: int, seed: int
) -> list[Box]:
    """``number`` boxes of ``side`` voxels (or the volume's): in turn anywhere, across a seam of
    tiles, and around a voxel of a class, one class after the other.

    ``counts``: of each tile in grid order, the voxels of each class. The same ``seed`` gives the
    same boxes of the same result.
    """
    grid, random = folder.plan.grid, Random(seed)  # noqa: S311 - it draws a sample
    present = [label for label, voxels in enumerate(zip(*counts, strict=True), 1) if sum(voxels)]
    weights = {label: list(accumulate(n[label - 1] for n in counts)) for label in present}
    boxes = []
    with opened(folder.segmentation_file) as file:
        for i in range(number):
            if i % 3 == 2 and present:
                label = present[i // 3 % len(present)]
                (tile,) = random.choices(range(len(grid)), cum_weights=weights[label])
                centre = _of_class(file, folder.plan, grid[tile], label, random)
            else:
                centre = _anywhere(Box((0, 0, 0), grid.volume), random)
                if i % 3 == 1:
                    centre = _to_seam(grid, centre, side, random)
            boxes.append(_around(centre, side, grid.volume))
    return boxes


def _anywhere(box: Box, random: Random) -> Index:
    z, y, x = (random.randrange(lo, hi) for lo, hi in zip(box.lo, box.hi, strict=True))
    return z, y, x


def _to_seam(grid: Grid, centre: Index, side: int, random: Random) -> Index:
    """``centre`` moved to seams of one axis or more, if there are seams, and up to ``side`` / 4
    voxels off."""
    point, cut = list(centre), [axis for axis in range(3) if grid.counts[axis] > 1]
    for axis in [a for a in cut if random.random() < 0.5] or (cut and [random.choice(cut)]):
        seam = random.randrange(1, grid.counts[axis]) * grid.core[axis]
        point[axis] = seam + random.randint(-(side // 4), side // 4)
    return point[0], point[1], point[2]


def _of_class(file: h5py.File, plan: Plan, tile: Tile, label: int, random: Random) -> Index:
    """A voxel of that label in a chunk of the tile; any voxel of it, should there be none."""
    chunks = list(tile.core.blocks(plan.grid_model.chunk))
    for chunk in random.sample(chunks, len(chunks)):
        found = np.flatnonzero(file[LABELS][chunk.slices] == label)
        if len(found):
            at = np.unravel_index(int(found[random.randrange(len(found))]), chunk.shape)
            z, y, x = (int(i) + lo for i, lo in zip(at, chunk.lo, strict=True))
            return z, y, x
    return _anywhere(tile.core, random)


def _around(centre: Index, side: int, volume: Index) -> Box:
    """Moved inwards at the faces of the volume, so that all boxes are of one size."""
    lo = [min(max(0, c - side // 2), max(0, n - side)) for c, n in zip(centre, volume, strict=True)]
    hi = [min(n, low + side) for low, n in zip(lo, volume, strict=True)]
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


def tiles_of(grid: Grid, box: Box) -> list[str]:
    """The names of the tiles that wrote the voxels of ``box``."""
    return [tile.name for tile in grid.meeting(box)]
