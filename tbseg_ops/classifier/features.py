"""Pixel features of a tile, as bricks for the forest (simple form)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import kernels
from tbseg_ops.classifier.eigen import eig3_all
from tbseg_ops.classifier.filters import convolve
from tbseg_ops.geometry import Box

Array = NDArray[np.float32]


class BrickFeatures:
    def __init__(self, features: tuple[Any, ...], channels: int) -> None:
        self.features, self.channels = features, channels
        self.columns = channels * sum(
            (2 if f.in_2d else 3) if "Eigenvalues" in f.id else 1 for f in features
        )

    def slabs(self, raw: NDArray[Any], core: Box) -> Iterator[tuple[int, int, Array]]:
        stack = feature_stack(raw, self.features, core)
        c, nz, ny, nx = stack.shape
        pad = [(0, 0)] + [(0, -n % 4) for n in (nz, ny, nx)]
        stack = np.pad(stack, pad)
        for z in range(0, nz, 16):
            part = stack[:, z : z + 16]
            a, b, d = (n // 4 for n in part.shape[1:])
            bricks = part.reshape(c, a, 4, b, 4, d, 4).transpose(1, 3, 5, 0, 2, 4, 6)
            yield z, min(16, nz - z), np.ascontiguousarray(bricks.reshape(a * b * d, c, 64))


def feature_stack(raw: NDArray[Any], features: tuple[Any, ...], core: Box) -> Array:
    """Columns of a core box: (columns, z, y, x)."""
    columns = [
        np.array(column[core.slices])
        for f in features
        for channel in range(raw.shape[3])
        for column in _feature(raw[..., channel].astype(np.float32), f.id, f.scale, f.in_2d)
    ]
    return np.stack(columns)


def _feature(raw: Array, feature_id: str, scale: float, in_2d: bool) -> list[Array]:
    axes = (2, 1) if in_2d else (2, 1, 0)
    t = kernels.feature_sigma(scale)

    def gauss(v: Array, sigma: float, window: float, *derive: int) -> Array:
        for axis in axes:
            order = derive.count(axis)
            v = convolve(v, kernels.taps(sigma, order, window), order == 1, axis)
        return v

    smooth = gauss(raw, kernels.presmooth_sigma(scale), kernels.PRESMOOTH_WINDOW)
    w = kernels.FEATURE_WINDOW
    if feature_id == kernels.SMOOTHING:
        return [gauss(smooth, t, w)]
    if feature_id == kernels.DIFFERENCE:
        return [gauss(smooth, t, w) - gauss(smooth, 0.66 * t, w)]
    if feature_id == kernels.LAPLACIAN:
        total = gauss(smooth, t, w, axes[0], axes[0])
        for a in axes[1:]:
            total = total + gauss(smooth, t, w, a, a)
        return [total]
    if feature_id == kernels.GRADIENT_MAGNITUDE:
        total = gauss(smooth, t, w, axes[0]) ** 2
        for a in axes[1:]:
            total = total + gauss(smooth, t, w, a) ** 2
        return [np.sqrt(total)]
    order = axes[::-1]
    pairs = [(a, b) for i, a in enumerate(order) for b in order[i:]]
    if feature_id == kernels.HESSIAN:
        matrix = [gauss(smooth, t, w, a, b) for a, b in pairs]
    else:
        d = {a: gauss(smooth, 0.5 * t, w, a) for a in axes}
        matrix = [gauss(d[a] * d[b], t, w) for a, b in pairs]
    if in_2d:
        return eig2(*matrix)
    return list(eig3_all(np.stack(matrix).reshape(6, -1)).reshape(3, *raw.shape))


def eig2(yy: Array, xy: Array, xx: Array) -> list[Array]:
    half = np.float32(0.5)
    mean, diff = half * (yy + xx), half * (yy - xx)
    root = np.sqrt(diff * diff + xy * xy)
    return [mean + root, mean - root]
