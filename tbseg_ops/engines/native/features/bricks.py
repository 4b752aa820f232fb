"""ilastik's pixel features of a tile, in the bricks that the forest evaluates.

All features of one scale are made together, slab by slab: ``presmooth`` gives the smoothed planes,
``derivatives`` and ``structure_tensor`` write their columns straight into the bricks.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.passport import Feature
from tbseg_ops.engines.native.features.buffers import Buffers
from tbseg_ops.engines.native.features.layout import (
    SCRATCH,
    STRIDE_OF_TAPS,
    Floats,
    Kernels,
    Signs,
    SmoothedPlanes,
    Wanted,
)
from tbseg_ops.engines.native.features.presmooth import Frame, SmoothedScale
from tbseg_ops.engines.native.kernels import BOOL, FLOATS, INT, INTS, Kernel
from tbseg_ops.geometry import Box

_PLANES: Any = SmoothedPlanes(FLOATS, INTS, INT, (INT, INT, INT))
_KERNELS: Any = Kernels(FLOATS, INT, INT, BOOL)
_WANTED: Any = Wanted(INT, INT, INT, INT, INT)
_derivative_bricks = Kernel(
    "engines.native.features.derivatives",
    "derivative_bricks",
    *(_PLANES, _KERNELS, _WANTED, FLOATS, FLOATS, INT),
)
_tensor_bricks = Kernel(
    "engines.native.features.structure_tensor",
    "tensor_bricks",
    *(_PLANES, _KERNELS, Signs(FLOATS, FLOATS, FLOATS), INT, FLOATS, FLOATS, INT),
)
_DERIVED = {
    gaussians.SMOOTHING: "smoothing",
    gaussians.LAPLACIAN: "laplacian",
    gaussians.GRADIENT_MAGNITUDE: "gradient",
    gaussians.DIFFERENCE: "difference",
    gaussians.HESSIAN: "hessian",
}
_NOTHING = Wanted()
_SLAB = 16
_BRICK_BYTES = 32 << 20  # of one slab, if four planes can keep to it


class BrickFeatures:
    """The features of one classifier. Holds buffers: one iteration of ``slabs`` at a time.

    ``columns``: for feature in the order given, for input channel, for eigenvalue (3, in 2D 2,
    largest first; other features have one value).
    """

    def __init__(
        self,
        features: tuple[Feature, ...],
        channels: int,
        needed: Collection[int] | None = None,
    ) -> None:
        """``needed``: columns that anyone will look at (default all); the others may be zeros."""
        # (scale, in 2D, channel, how often the same feature came before: scales may be repeated)
        self._groups: dict[tuple[float, bool, int, int], _Group] = {}
        self.columns = 0
        for i, feature in enumerate(features):
            kind, repeated = (feature.scale, feature.in_2d), features[:i].count(feature)
            for channel in range(channels):
                columns = range(self.columns, self.columns + feature.columns())
                self.columns = columns.stop
                if needed is None or not set(columns).isdisjoint(needed):
                    key = (*kind, channel, repeated)
                    group = self._groups.setdefault(key, _Group.of(*kind))
                    group.want(feature.id, columns.start)
        self._buffers = Buffers()

    def slabs(self, raw: NDArray[Any], core: Box) -> Iterator[tuple[int, int, Floats]]:
        """Yield (z in the core, planes, bricks) from the first plane of the core to its last.

        raw: (z, y, x, c), uint8, uint16 or float32; mirrored beyond its faces without repeating the
        edge, so it must reach a halo around the core or the faces of the volume. core: in voxels of
        raw. planes: a multiple of 4, but for the last slab. bricks: float32
        [brick][column][64], the slab's core in bricks of 4 x 4 x 4 (raster order, the last ones
        padded with finite values), valid until the next slab.
        """
        nz, ny, nx = core.shape
        layer = -(-ny // 4) * -(-nx // 4) * self.columns * 64
        depth = min(_SLAB, max(1, _BRICK_BYTES // (4 * layer)) * 4, -(-nz // 4) * 4)
        bricks = self._buffers.take("bricks", depth // 4 * layer)
        frame = Frame((raw.shape[0], raw.shape[1], raw.shape[2]), core)
        scales = [
            SmoothedScale(raw[..., channel], frame, scale, in_2d, depth, self._buffers, name)
            for name, (scale, in_2d, channel, _) in enumerate(self._groups)
        ]
        scratch = self._buffers.take("scratch", SCRATCH)
        for z in range(0, nz, depth):
            planes = min(depth, nz - z)
            flat = bricks[: -(-planes // 4) * layer]
            by_brick = flat.reshape(-1, self.columns, 64)
            if planes % 4:
                by_brick[-layer // (self.columns * 64) :, :, planes % 4 * 16 :] = 0
            signs = frame.signs(z, planes)
            for scale, group in zip(scales, self._groups.values(), strict=True):
                group.fill(scale.planes(z, planes), signs, scratch, flat, self.columns)
            yield z, planes, by_brick


@dataclass
class _Group:
    """What is wanted of one scale and channel, and the kernels for it."""

    derivatives: Kernels
    tensor: Kernels
    wanted: Wanted = _NOTHING
    tensor_column: int = -1

    @classmethod
    def of(cls, scale: float, in_2d: bool) -> "_Group":
        t, window = gaussians.feature_sigma(scale), gaussians.FEATURE_WINDOW
        radius = gaussians.radius(t, window)
        # A scale too small for second derivatives may still be smoothed.
        orders = [gaussians.taps(t, order, window) for order in range(3 if radius else 2)]
        narrow = gaussians.taps(0.66 * t, 0, window)
        inner = [gaussians.taps(0.5 * t, order, window) for order in (0, 1)]
        three = [*orders, orders[0]][:3]
        return cls(
            Kernels(_flat(*three, narrow), radius, len(narrow) - 1, in_2d),
            Kernels(_flat(*inner, orders[0]), radius, len(inner[0]) - 1, in_2d),
        )

    def want(self, feature_id: str, column: int) -> None:
        if feature_id == gaussians.STRUCTURE_TENSOR:
            self.tensor_column = column
        else:
            self.wanted = self.wanted._replace(**{_DERIVED[feature_id]: column})

    def fill(
        self, planes: SmoothedPlanes, signs: Signs, scratch: Floats, bricks: Floats, columns: int
    ) -> None:
        """Write the wanted columns of a slab into flat bricks."""
        if max(self.wanted) >= 0:
            _derivative_bricks(planes, self.derivatives, self.wanted, scratch, bricks, columns)
        if self.tensor_column >= 0:
            if self.tensor.small_radius == 0:  # the derivative is the input, which has no direction
                signs = Signs(*(np.ones_like(axis) for axis in signs))
            _tensor_bricks(planes, self.tensor, signs, self.tensor_column, scratch, bricks, columns)


def _flat(*kernels_: Floats) -> Floats:
    """Kernels of radius 2 at most, one after the other, STRIDE_OF_TAPS floats each."""
    flat = np.zeros((len(kernels_), STRIDE_OF_TAPS), np.float32)
    for row, taps in zip(flat, kernels_, strict=True):
        row[: len(taps)] = taps
    return flat.reshape(-1)
