"""One-dimensional passes of the Gaussian kernels over whole float32 arrays (z, y, x)."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tbseg_ops.classifier.simd import fma


@njit(cache=True, nogil=True, error_model="numpy")
def convolve(src: NDArray[np.float32], c: NDArray[np.float32], odd: bool, axis: int) -> NDArray[np.float32]:
    """One pass along ``axis``: ``s = v*c0``, then ``s = fma(right +- left, c_k, s)``."""
    n = src.shape[axis]
    dst = np.empty_like(src)
    for z in range(src.shape[0]):
        for y in range(src.shape[1]):
            for x in range(src.shape[2]):
                p = (z, y, x)[axis]
                s = src[z, y, x] * c[0]
                for k in range(1, len(c)):
                    a, b = mirrored(p - k, n), mirrored(p + k, n)
                    if axis == 0:
                        left, right = src[a, y, x], src[b, y, x]
                    elif axis == 1:
                        left, right = src[z, a, x], src[z, b, x]
                    else:
                        left, right = src[z, y, a], src[z, y, b]
                    s = fma(right - left if odd else right + left, c[k], s)
                dst[z, y, x] = s
    return dst


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def mirrored(i: int, n: int) -> int:
    """Index ``i`` reflected into 0..n-1 without repeating the edges."""
    while i < 0 or i >= n:
        i = -i if i < 0 else 2 * n - 2 - i
    return i
