"""Rows out of a file, at the speed of the system call: a box of a volume has 100,000 of them."""

import os
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from tbseg_ops.engines.native.jit import compiled

_pread: Any = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)


def read_rows(file: int, starts: NDArray[np.int64], into: NDArray[np.uint8]) -> bool:
    """Fill each row of ``into`` (rows, bytes), C-contiguous, from where it starts in a file.

    ``file``: its descriptor. False if the file ends before. OSError if it cannot be read.
    """
    done = _read(file, starts, into)
    for row, start in zip(into[done:], starts[done:], strict=True):  # the error, if there is one
        if os.preadv(file, [row], int(start)) != len(row):
            return False
    return True


@compiled
def _read(file: int, starts: NDArray[np.int64], into: NDArray[np.uint8]) -> Any:
    """How many rows were read before one was not, or not wholly: an integer."""
    rows, length = into.shape
    first = into.ctypes.data
    for row in range(rows):
        at = np.uintp(first + row * length)
        if _pread(np.int32(file), at, np.uintp(length), starts[row]) != length:
            return row
    return rows
