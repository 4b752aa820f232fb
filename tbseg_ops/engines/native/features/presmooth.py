"""The Gaussian that all features of a scale share, plane by plane, kept in rings.

A plane of the raw volume is smoothed in x and y once, when the slabs first need it, and stays in a
ring as long as the z pass of later planes looks back at it. Beyond the faces of the volume the
signal is mirrored without repeating the edge; kernels being symmetric, mirroring what was smoothed
is the same to the bit, so every stage mirrors by looking up the mirrored row or plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import gaussians
from tbseg_ops.engines.native.features.buffers import Buffers
from tbseg_ops.engines.native.features.layout import (
    LANES,
    LEFT,
    MARGIN,
    Floats,
    Ints,
    Signs,
    SmoothedPlanes,
    padded_stride,
)
from tbseg_ops.engines.native.kernels import FLOATS, INT, INTS, Kernel
from tbseg_ops.geometry import Box

_smooth_rows = Kernel(
    "engines.native.features.filters",
    "smooth_rows",
    *(FLOATS, INT, INTS, INT, FLOATS, INT, FLOATS, INT, INT, INT),
)


def mirrored(first: int, count: int, n: int) -> tuple[Ints, Floats]:
    """Where in 0..n-1 ``first ... first + count`` are mirrored, and 1 or, if turned round, -1."""
    i = np.arange(first, first + count)
    period = max(1, 2 * (n - 1))
    i %= period
    return np.where(i < n, i, period - i), np.where(i < n, 1, -1).astype(np.float32)


@dataclass(frozen=True)
class Frame:
    """The core of a tile in its raw volume, and the smoothed rectangle around it.

    Smoothed planes have ``rows`` rows of ``stride`` floats, of which ``width`` are computed; the
    core's first voxel lies in row 3, float 4.
    """

    raw: tuple[int, int, int]
    core: Box

    @property
    def rows(self) -> int:
        return -(-self.core.shape[1] // 4) * 4 + 2 * MARGIN

    @property
    def width(self) -> int:
        return -(-(self.core.shape[2] + LEFT + MARGIN) // LANES) * LANES

    @property
    def stride(self) -> int:
        # The last block of a row may look one vector and a half beyond the core.
        return padded_stride(-(-self.core.shape[2] // LANES) * LANES + LEFT + 2 * LANES)

    @property
    def plane(self) -> int:
        """Floats of one smoothed plane."""
        return self.rows * self.stride

    def signs(self, z: int, depth: int) -> Signs:
        """Directions of the axes around ``depth`` planes of the core from its plane ``z`` on."""
        (z0, y0, x0), (nz, ny, nx) = self.core.lo, self.raw
        return Signs(
            mirrored(z0 + z - MARGIN, depth + 2 * MARGIN, nz)[1],
            mirrored(y0 - MARGIN, self.rows, ny)[1],
            mirrored(x0 - LEFT, self.stride, nx)[1],
        )


class SmoothedScale:
    """Smoothed planes of one scale and one channel, asked for in slabs of rising z."""

    def __init__(
        self,
        raw: NDArray[Any],
        frame: Frame,
        scale: float,
        in_2d: bool,
        depth: int,
        buffers: Buffers,
        name: int,
    ) -> None:
        """``raw``: one channel, (z, y, x). ``depth``: planes of the deepest slab.

        ``name`` tells the rings of this scale from others in ``buffers``.
        """
        self._raw, self._frame, self._in_2d = raw, frame, in_2d
        self._taps = gaussians.taps(gaussians.presmooth_sigma(scale), 0, gaussians.PRESMOOTH_WINDOW)
        reach = self._reach = len(self._taps) - 1
        nz, ny, nx = frame.raw
        _, y0, x0 = frame.core.lo
        y, _ = mirrored(y0 - MARGIN - reach, frame.rows + 2 * reach, ny)
        self._x, _ = mirrored(x0 - LEFT - reach, frame.width + 2 * reach, nx)
        left = max(0, LEFT + reach - x0)
        n = min(nx, x0 + frame.width - LEFT + reach) - max(0, x0 - LEFT - reach)
        self._inside = left, n, len(self._x) - left - n
        self._y = slice(int(y.min()), int(y.max()) + 1)
        self._slots = depth + (0 if in_2d else 2 * MARGIN)
        self._ring = min(2 * reach + 1, nz)
        self._next_raw = self._next = -1
        # One scale after the other uses these two.
        wide = padded_stride(frame.width + 2 * reach)
        self._floats = buffers.take("raw", (self._y.stop - self._y.start) * wide).reshape(-1, wide)
        self._x_smoothed = buffers.take("x", len(self._floats) * frame.stride)
        self._y_rows = (y - self._y.start) * frame.stride
        self._x_rows = np.arange(2 * reach + 1)
        self._planes = buffers.take(f"planes {name}", self._slots * frame.plane)
        if not in_2d:
            self._xy = buffers.take(f"ring {name}", self._ring * frame.plane)

    def planes(self, z: int, depth: int) -> SmoothedPlanes:
        """Smoothed planes for ``depth`` planes of the core from its plane ``z`` on.

        In 2D the planes before and after the slab mean nothing.
        """
        z += self._frame.core.lo[0]
        planes, _ = mirrored(z - MARGIN, depth + 2 * MARGIN, self._frame.raw[0])
        used = planes[MARGIN:-MARGIN] if self._in_2d else planes
        for plane in range(max(self._next, int(used.min())), int(used.max()) + 1):
            self._smooth(plane)
            self._next = plane + 1
        shape = depth, self._frame.core.shape[1], self._frame.core.shape[2]
        starts = planes % self._slots * self._frame.plane
        return SmoothedPlanes(self._planes, starts, self._frame.stride, shape)

    def _smooth(self, z: int) -> None:
        """Make smoothed plane ``z``."""
        to = z % self._slots * self._frame.plane
        if self._in_2d:
            self._smooth_xy(z, self._planes, to, self._frame.stride)
            return
        window, _ = mirrored(z - self._reach, 2 * self._reach + 1, self._frame.raw[0])
        stride = self._frame.stride
        row = self._ring * stride
        for plane in range(max(self._next_raw, int(window.min())), int(window.max()) + 1):
            self._smooth_xy(plane, self._xy, plane % self._ring * stride, row)
            self._next_raw = plane + 1
        _smooth_rows(
            self._xy,
            row,
            window % self._ring * stride,
            0,
            self._taps,
            self._frame.width,
            self._planes,
            to,
            stride,
            self._frame.rows,
        )

    def _smooth_xy(self, z: int, target: Floats, to: int, step: int) -> None:
        """x and y passes of raw plane ``z`` into rows of ``target``."""
        rows, frame = self._floats, self._frame
        self._fill(self._raw[z, self._y], rows)
        _smooth_rows(
            rows.reshape(-1),
            rows.shape[1],
            self._x_rows,
            0,
            self._taps,
            frame.width,
            self._x_smoothed,
            0,
            frame.stride,
            len(rows),
        )
        _smooth_rows(
            self._x_smoothed,
            0,
            self._y_rows,
            1,
            self._taps,
            frame.width,
            target,
            to,
            step,
            frame.rows,
        )

    def _fill(self, plane: NDArray[Any], rows: Floats) -> None:
        """Raw rows as float32, with mirrored columns on both sides."""
        left, n, right = self._inside
        rows[:, left : left + n] = plane[:, self._x[left] : self._x[left] + n]
        if max(left, right) < n:
            end = left + n
            rows[:, :left] = rows[:, 2 * left : left : -1]
            rows[:, end : end + right] = rows[:, end - 2 : end - 2 - right : -1]
        else:
            rows[:, : len(self._x)] = plane[:, self._x]
