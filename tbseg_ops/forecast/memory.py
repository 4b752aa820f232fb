"""How much memory a worker that classifies tiles of a plan will take."""

import numpy as np

from tbseg_ops.classifier import Passport, gaussians
from tbseg_ops.engines import at_once
from tbseg_ops.geometry import Tile
from tbseg_ops.run import Plan

_PROGRAM = 110_000_000  # Python with numpy, h5py, pydantic, the linker and the kernels
# The engine native works on columns of this cross-section (y, x) whatever the size of the tile,
# 16 planes at a time, and keeps rings of smoothed planes for each scale.
_SIDE, _SLAB, _MARGIN = 128, 16, 6
_PADDED = (_SIDE + 8) * (_SIDE + 48) * 4
_BRICKS = 32 << 20
# The program ilastik: 0.9 GB, and 3 GB for a tile of 256 voxels a side.
_ILASTIK, _ILASTIK_PER_VOXEL = 900_000_000, 130


def memory_needed(made: Plan, threads: int = 1) -> int:
    """Peak resident bytes of one worker process of ``classify``, for the largest tile.

    Within 20 % of what is measured with the engine native. Compressed file images are counted as
    a tenth of what they hold.
    """
    tile = _middle(made)
    box, core = tile.box.size, tile.core.size
    info, labels = made.volume, len(made.classifier.labels)
    itemsize = np.dtype(info.dtype).itemsize * info.channels
    outputs = core * (1 + labels * (itemsize if made.spec.output == "intensity" else 1))
    working = core * (itemsize + 1)  # one class in the making
    if made.probability_labels:
        working += core * 4 * (labels + 1)
        outputs += core * len(made.probability_labels)
    if made.spec.engine == "ilastik":
        others = at_once("ilastik", box * info.channels) - 1  # that wait for their turn
        engine = _ILASTIK + box * _ILASTIK_PER_VOXEL + others * box * itemsize
    else:
        engine = threads * _features(made, made.classifier)
        if (first := made.classifier.first) is not None:
            # The first stage's probabilities, and they once more as channels beside the raw ones.
            seen = tile.core.grown(made.classifier.reach_for(info.shape), info.shape).size
            maps = len(first.labels)
            engine += threads * _features(made, first)
            engine += seen * (4 * maps + itemsize // info.channels * (info.channels + 2 * maps))
    return _PROGRAM + box * itemsize + outputs + working + outputs // 10 + engine


def _features(made: Plan, stage: Passport) -> int:
    """Buffers of the engine native for one thread."""
    features = stage.features_for(made.volume.shape)
    bricks = min(_BRICKS, _SLAB * _SIDE * _SIDE * stage.columns * 4)
    rings = 0
    for scale, in_2d in {(f.scale, f.in_2d) for f in features}:
        reach = gaussians.radius(gaussians.presmooth_sigma(scale), gaussians.PRESMOOTH_WINDOW)
        planes = _SLAB if in_2d else _SLAB + _MARGIN + 2 * reach + 1
        rings += planes * _PADDED * stage.inputs
    return int(bricks + rings)


def _middle(made: Plan) -> Tile:
    """A tile with as much halo as any, or nearly so."""
    grid = made.grid
    z, y, x = (min(1, n - 1) for n in grid.counts)
    return grid[(z * grid.counts[1] + y) * grid.counts[2] + x]
