"""The Gaussian kernels of ilastik's pixel features, and how far each feature looks.

Pure Python and numpy: reading a classifier must not load numba. Every kernel is symmetric
(orders 0 and 2) or antisymmetric (order 1), so only the taps 0..radius are kept; a pass computes
``c0*v + c1*(right +- left) + c2*(...)``. What ilastik does with them: docs/ilp-format.md;
how passes are rounded: docs/engine-native.md.
"""

from collections.abc import Callable
from math import ceil, exp, factorial, floor, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError

SMOOTHING = "GaussianSmoothing"
LAPLACIAN = "LaplacianOfGaussian"
GRADIENT_MAGNITUDE = "GaussianGradientMagnitude"
DIFFERENCE = "DifferenceOfGaussians"
STRUCTURE_TENSOR = "StructureTensorEigenvalues"
HESSIAN = "HessianOfGaussianEigenvalues"

PRESMOOTH_WINDOW = 3.5
FEATURE_WINDOW = 2.0


def presmooth_sigma(scale: float) -> float:
    """Sigma in voxels of the Gaussian that a whole scale shares."""
    return sqrt(scale * scale - 1.0) if scale > 1.0 else scale


def feature_sigma(scale: float) -> float:
    """Sigma in voxels of the feature's own filter, applied to the presmoothed volume."""
    return min(scale, 1.0)


def radius(sigma: float, window: float) -> int:
    """Voxels on each side of the centre that a kernel reaches."""
    return floor(window * sigma + 0.5)


def halo_radius(feature_id: str, scale: float) -> int:
    """Voxels on each side of a voxel, per filtered axis, that can change its feature value."""
    sigma = feature_sigma(scale)
    reach = radius(sigma, FEATURE_WINDOW)
    if feature_id == STRUCTURE_TENSOR:
        reach += radius(0.5 * sigma, FEATURE_WINDOW)
    return radius(presmooth_sigma(scale), PRESMOOTH_WINDOW) + reach


def minimum_side(scale: float) -> int:
    """Least voxels per filtered axis of a whole volume: ilastik refuses smaller ones."""
    return ceil(3.5 * scale) + 1


def taps(sigma: float, order: int, window: float) -> NDArray[np.float32]:
    """Taps 0..radius of the Gaussian's ``order``-th derivative (0, 1 or 2), float32.

    Order 0 sums to 1 over both sides; order 1 gives slope 1 on a ramp; order 2 gives 1 on x*x/2 and
    0 on a constant. Order 1 of radius 0 has no slope to normalise: ilastik then takes the input
    itself for the derivative, so the kernel is the identity. Raises InputError for order 2 of
    radius 0, which has no meaning.
    """
    n = radius(sigma, window)
    if n == 0:
        if order == 2:
            raise InputError(
                "a second derivative was asked for at a scale too small to have one",
                expected=f"sigma of at least {0.5 / window}",
                found=sigma,
                mend="train the classifier without this scale",
            )
        return np.ones(1, np.float32)
    scale = 1.0 / (sqrt(2.0 * pi) * sigma)
    if order:
        scale /= -(sigma * sigma)
    shape: tuple[Callable[[int], float], ...] = (
        lambda x: 1.0,
        lambda x: float(x),
        lambda x: 1.0 - (x / sigma) ** 2,
    )
    c = np.array(
        [shape[order](x) * scale * exp(-x * x / (2.0 * sigma * sigma)) for x in range(n + 1)],
        np.float32,
    )
    if order == 2:
        total = float(c[0]) + sum(float(np.float32(2) * tap) for tap in c[1:])
        c = (c.astype(np.float64) - total / (2 * n + 1)).astype(np.float32)
    norm = float(c[0]) + 2.0 * sum(map(float, c[1:])) if order == 0 else _moment(c, order)
    return (c.astype(np.float64) / norm).astype(np.float32)


def _moment(c: NDArray[np.float32], order: int) -> float:
    """The ``order``-th moment of the whole kernel over order!, with the sign of a convolution."""
    sign = 1.0 if order == 2 else -1.0
    both = [(-x) ** order + sign * x**order for x in range(1, len(c))]
    return sum((float(t) * b / factorial(order) for t, b in zip(c[1:], both, strict=True)), 0.0)
