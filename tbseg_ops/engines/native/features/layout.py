"""How smoothed planes, kernels and columns are laid out: what callers and kernels agree on.

Planes are cut into blocks of up to 16 rows by 64 columns: small enough that everything derived from
one stays in the processor's own cache, large enough that the rows and columns needed around it cost
little.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LANES = 16  # floats of a vector
ROWS, COLUMNS = 16, 64  # of a block
MARGIN = 3  # rows and planes around the core that features look at
LEFT = 4  # floats before the core's first column in a row of a smoothed plane
STRIDE_OF_TAPS = 3  # floats from one kernel to the next
SCRATCH = 1 << 16  # floats, more than any kernel needs for what it derives from a block


def padded_stride(width: int) -> int:
    """Least odd multiple of 16 that holds ``width`` floats.

    Powers of two would share a few sets of the cache.
    """
    return (-(-width // LANES) | 1) * LANES


class SmoothedPlanes(NamedTuple):
    """Presmoothed planes around a slab of the core.

    Plane z of the slab begins at ``smooth[planes[z + 3]]``, row y of the core ``(y + 3) * stride``
    floats later, its column x another ``x + 4`` floats later. ``shape``: (z, y, x) of the slab.
    """

    smooth: Floats
    planes: Ints
    stride: int
    shape: tuple[int, int, int]


class Kernels(NamedTuple):
    """Kernels of one scale in one flat array; the second radius is that of the smaller kernels.

    ``flat``: 2D, no pass along z.
    """

    taps: Floats
    radius: int
    small_radius: int
    flat: bool


class Wanted(NamedTuple):
    """The first columns of these features, -1 where a feature is not wanted."""

    smoothing: int = -1
    laplacian: int = -1
    gradient: int = -1
    difference: int = -1
    hessian: int = -1


class Signs(NamedTuple):
    """-1 beyond a face of the volume, where the axis runs backwards, else 1.

    ``z`` and ``y`` begin 3 voxels before the slab's core, ``x`` 4 voxels; ``x`` is a row's stride
    long.
    """

    z: Floats
    y: Floats
    x: Floats
