"""Features as plain arrays, out of the engine's bricks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.passport import Feature
from tbseg_ops.engines.native.features.bricks import BrickFeatures
from tbseg_ops.geometry import Box


def feature_stack(
    raw: NDArray[Any], features: tuple[Feature, ...], core: Box
) -> NDArray[np.float32]:
    """The columns of a core box, (columns, z, y, x); arguments as for ``BrickFeatures.slabs``."""
    maker = BrickFeatures(features, raw.shape[3])
    stack = np.empty((maker.columns, *core.shape), np.float32)
    _, ny, nx = core.shape
    for z, planes, bricks in maker.slabs(raw, core):
        grid = -(-planes // 4), -(-ny // 4), -(-nx // 4)
        slab = bricks.reshape(*grid, maker.columns, 4, 4, 4).transpose(3, 0, 4, 1, 5, 2, 6)
        slab = slab.reshape(maker.columns, *(4 * n for n in grid))
        stack[:, z : z + planes] = slab[:, :planes, :ny, :nx]
    return stack
