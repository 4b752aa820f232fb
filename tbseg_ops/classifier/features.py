"""ilastik's pixel features of a tile, in the bricks that the forest walks through.

All features of one scale are made together, slab by slab: ``presmooth`` gives the smoothed planes,
``derivatives`` and ``tensor`` write their columns straight into the bricks.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import derivatives, kernels, tensor
from tbseg_ops.classifier.blocks import LEFT, MARGIN
from tbseg_ops.classifier.buffers import Buffers
from tbseg_ops.classifier.filters import STRIDE_OF_TAPS, Floats, Ints
from tbseg_ops.classifier.passport import Feature
from tbseg_ops.classifier.presmooth import Frame, SmoothedScale, mirrored
from tbseg_ops.geometry import Box

_DERIVED = (
    kernels.SMOOTHING,
    kernels.LAPLACIAN,
    kernels.GRADIENT_MAGNITUDE,
    kernels.DIFFERENCE,
    kernels.HESSIAN,
)
_SLAB = 16
_BRICK_BYTES = 64 << 20  # of one slab, if four planes can keep to it


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
        self._groups: dict[tuple[float, bool, int], _Group] = {}
        self.columns = 0
        for feature in features:
            key = feature.scale, feature.in_2d
            for channel in range(channels):
                columns = range(self.columns, self.columns + feature.columns())
                self.columns = columns.stop
                if needed is None or not set(columns).isdisjoint(needed):
                    group = self._groups.setdefault((*key, channel), _Group.of(*key))
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
        depth = min(_SLAB, max(1, _BRICK_BYTES // (4 * layer)) * 4)
        bricks = self._buffers.take("bricks", -(-min(depth, nz) // 4) * layer)
        frame = Frame((raw.shape[0], raw.shape[1], raw.shape[2]), core)
        scales = [
            SmoothedScale(
                raw[..., channel], frame, scale, in_2d, depth, self._buffers, str(channel)
            )
            for scale, in_2d, channel in self._groups
        ]
        for z in range(0, nz, depth):
            planes = min(depth, nz - z)
            slab = bricks[: -(-planes // 4) * layer]
            by_brick = slab.reshape(-1, self.columns, 64)
            if planes % 4:
                by_brick[-layer // (self.columns * 64) :, :, planes % 4 * 16 :] = 0
            for scale, group in zip(scales, self._groups.values(), strict=True):
                group.fill(scale, frame, z, planes, self._buffers, slab, self.columns)
            yield z, planes, by_brick


@dataclass
class _Group:
    """What is wanted of one scale and channel, with the taps of its kernels."""

    in_2d: bool
    radius: int
    narrow_radius: int
    inner_radius: int
    derivative_taps: Floats
    tensor_taps: Floats
    derived: Ints
    tensor: int = -1

    @classmethod
    def of(cls, scale: float, in_2d: bool) -> "_Group":
        t, window = kernels.feature_sigma(scale), kernels.FEATURE_WINDOW
        radius = kernels.radius(t, window)
        orders = [kernels.taps(t, order, window) for order in range(3 if radius else 2)]
        narrow = kernels.taps(0.66 * t, 0, window)
        inner = [kernels.taps(0.5 * t, order, window) for order in (0, 1)]
        return cls(
            in_2d,
            radius,
            len(narrow) - 1,
            len(inner[0]) - 1,
            _flat(*orders, *[orders[0]] * (3 - len(orders)), narrow),
            _flat(*inner, orders[0]),
            np.full(len(_DERIVED), -1),
        )

    def want(self, feature_id: str, column: int) -> None:
        if feature_id == kernels.STRUCTURE_TENSOR:
            self.tensor = column
        else:
            self.derived[_DERIVED.index(feature_id)] = column

    def fill(
        self,
        scale: SmoothedScale,
        frame: Frame,
        z: int,
        depth: int,
        buffers: Buffers,
        bricks: Floats,
        columns: int,
    ) -> None:
        """Write the wanted columns of the slab from ``z`` of the core on."""
        z0, y0, x0 = frame.core.lo
        planes = scale.slab(z0 + z, depth)
        shape = depth, frame.core.shape[1], frame.core.shape[2]
        scratch = buffers.take("scratch", max(derivatives.SCRATCH, tensor.SCRATCH))
        if (self.derived >= 0).any():
            derivatives.derivative_bricks(
                scale.planes,
                planes,
                frame.stride,
                shape,
                self.derivative_taps,
                self.radius,
                self.narrow_radius,
                self.in_2d,
                self.derived,
                scratch,
                bricks,
                columns,
            )
        if self.tensor >= 0:
            nz, ny, nx = frame.raw
            signs = [
                mirrored(first, count, n)[1] if self.inner_radius else np.ones(count, np.float32)
                for first, count, n in (
                    (z0 + z - MARGIN, len(planes), nz),
                    (y0 - MARGIN, frame.rows, ny),
                    (x0 - LEFT, frame.stride, nx),
                )
            ]
            tensor.tensor_bricks(
                scale.planes,
                planes,
                frame.stride,
                shape,
                signs[0],
                signs[1],
                signs[2],
                self.tensor_taps,
                self.inner_radius,
                self.radius,
                self.in_2d,
                self.tensor,
                scratch,
                bricks,
                columns,
            )


def _flat(*kernels_: Floats) -> Floats:
    """Kernels of radius 2 at most, one after the other, STRIDE_OF_TAPS floats each."""
    flat = np.zeros((len(kernels_), STRIDE_OF_TAPS), np.float32)
    for row, taps in zip(flat, kernels_, strict=True):
        row[: len(taps)] = taps
    return flat.reshape(-1)


def feature_stack(raw: NDArray[Any], features: tuple[Feature, ...], core: Box) -> Floats:
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
