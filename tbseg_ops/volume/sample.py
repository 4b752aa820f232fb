"""A few of a volume's voxels, to see what its values are like."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.volume.source import Source

_SLICES, _DECODED = 8, 1 << 30  # the last in bytes
_SIDE = 512


def sample(source: Source) -> NDArray[Any]:
    """Voxels (n, channels) of up to 8 slices spread evenly, of each a grid of about 512 x 512.

    The same ones each time; fewer slices where 8 are more than 1 GiB. InputError as ``read``.
    """
    depth, *plane = source.info.shape
    count = max(1, min(_SLICES, depth, _DECODED // source.info.slice_bytes))
    grid = tuple(slice(None, None, max(1, n // _SIDE)) for n in plane)
    chosen = [(2 * i + 1) * depth // (2 * count) for i in range(count)]
    planes = [source.read(z, z + 1).array[0][grid] for z in chosen]
    return np.concatenate([p.reshape(-1, source.info.channels) for p in planes])
