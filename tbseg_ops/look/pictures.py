"""Pictures of a volume from afar: slices spread over it, and the two planes across them.

Single voxels are taken and nothing is averaged. Each slice is decoded once.
"""

from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.view.paint import Range, png, stretched
from tbseg_ops.volume import Source

_MOST_SLICES, _PIXELS = 96, 12 << 20  # of all pictures
_DECODED = 1 << 30  # bytes of all of them
_SIDE = 512  # pixels
_SMALL = 200  # a picture with longer sides is stored with losses that nobody sees
_QUALITY = 88


@dataclass(frozen=True)
class Afar:
    """``voxels`` (z, y, x): those of the first channel at the planes, rows and columns ``axes``."""

    voxels: NDArray[Any]
    axes: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

    @property
    def middles(self) -> tuple[int, int, int]:
        """Where in ``axes`` the middle of the volume is."""
        z, y, x = (len(axis) // 2 for axis in self.axes)
        return z, y, x


def from_afar(source: Source) -> Afar:
    """Of a volume of any size. InputError as ``Source.read``."""
    info = source.info
    depth, height, width = info.shape
    ys, xs = (np.arange(0, n, -(-n // _SIDE)) for n in (height, width))
    most = min(_MOST_SLICES, _PIXELS // (len(ys) * len(xs)), _DECODED // info.slice_bytes)
    count = max(1, min(depth, most))
    zs = np.unique((2 * np.arange(count) + 1) * depth // (2 * count))
    planes = [source.read(int(z), int(z) + 1).array[0, ys][:, xs, 0] for z in zs]
    return Afar(np.stack(planes), (zs, ys, xs))


def image(plane: NDArray[Any], bounds: Range) -> tuple[str, bytes]:
    """A plane (y, x) of raw values as a picture: what kind of one, and its bytes."""
    grey: NDArray[np.uint8] = np.ascontiguousarray(stretched(plane, bounds).astype(np.uint8))
    if max(grey.shape) <= _SMALL:
        return "image/png", png(grey)
    return "image/jpeg", bytes(imagecodecs.jpeg8_encode(grey, level=_QUALITY))
