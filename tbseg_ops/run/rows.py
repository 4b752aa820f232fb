"""Rows out of a file, at the speed of the system call: a box of a volume has 100,000 of them.

A disk gives pages, not bytes, and is quicker with one long piece than with many short ones. So rows
that lie close to each other are read with what is between them, as long as that is no more than the
pages of the rows themselves: never more than twice of what the disk would give anyway. Rows of a
wide volume lie further apart, and are read one by one: with all between them each tile of a row of
tiles would read the whole slices.
"""

import os
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from tbseg_ops.engines.native.jit import compiled

_PAGE = 4096
_AT_ONCE = 1 << 20  # bytes that are read in one piece, if a row is not longer

_pread: Any = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)


def read_rows(file: int, starts: NDArray[np.int64], into: NDArray[np.uint8]) -> bool:
    """Fill each row of ``into`` (rows, bytes), C-contiguous, from where it starts in a file.

    ``file``: its descriptor. ``starts``: ascending, of rows that do not overlap. False if the file
    ends before. OSError if it cannot be read.
    """
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # else more is read ahead, and never needed
    done = _read(file, starts, into, np.empty(max(_AT_ONCE, into.shape[1]), np.uint8))
    for row, start in zip(into[done:], starts[done:], strict=True):  # the error, if there is one
        if os.preadv(file, [row], int(start)) != len(row):
            return False
    return True


@compiled
def _read(
    file: int, starts: NDArray[np.int64], into: NDArray[np.uint8], piece: NDArray[np.uint8]
) -> Any:
    """How many rows were read before one was not, or not wholly: an integer."""
    rows, length = into.shape
    row = 0
    while row < rows:
        end = _close(starts, row, length, piece.size)
        nbytes = starts[end - 1] + length - starts[row]
        target = piece if end > row + 1 else into[row]
        at = target.ctypes.data
        if _pread(np.int32(file), np.uintp(at), np.uintp(nbytes), starts[row]) != nbytes:
            return row
        if end > row + 1:
            for each in range(row, end):
                begin = starts[each] - starts[row]
                into[each] = piece[begin : begin + length]
        row = end
    return rows


@compiled
def _close(starts: NDArray[np.int64], row: int, length: int, most: int) -> Any:
    """The end of the rows, from ``row`` on, that are read in one piece of ``most`` bytes."""
    between = max(length, _PAGE)
    end = row + 1
    while (
        end < starts.size
        and starts[end] - starts[end - 1] - length <= between
        and starts[end] - starts[row] + length <= most
    ):
        end += 1
    return end
