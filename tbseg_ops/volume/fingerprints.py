"""The fingerprint of a slice that has no file of its own: sha256 of its decoded pixels."""

import hashlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Digest(Protocol):
    """What hashlib's objects are."""

    def update(self, content: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def new_plane_digest(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Digest:
    """To be fed with the C-order bytes of a slice (y, x, c); shape and dtype are part of it."""
    return hashlib.sha256(f"{dtype.str} {shape}\n".encode())


def plane_digest(plane: NDArray[Any]) -> str:
    """Fingerprint of one slice (y, x, c), C-contiguous."""
    digest = new_plane_digest(plane.shape, plane.dtype)
    digest.update(plane.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
