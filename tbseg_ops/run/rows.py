"""Rows out of a file, at the speed of the system call: a box of a volume has 100,000 of them.

A disk gives pages, not bytes, and is quicker with one long piece than with many short ones. So rows
that lie close to each other are read with what is between them, as long as that is no more than the
pages of the rows themselves: never more than twice of what the disk would give anyway. Rows of a
wide volume lie further apart, and are read one by one: with all between them each tile of a row of
tiles would read the whole slices.
"""

import os

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines.native.kernels import INT, INTS, Array, Kernel

_AT_ONCE = 1 << 20  # bytes that are read in one piece, if a row is not longer

_read = Kernel("run.row_kernel", "read", INT, INTS, Array.of("uint8", 2), Array.of("uint8"), INTS)


def read_rows(file: int, starts: NDArray[np.int64], into: NDArray[np.uint8]) -> bool:
    """Fill each row of ``into`` (rows, bytes), C-contiguous, from where it starts in a file.

    ``file``: its descriptor. ``starts``: ascending, of rows that do not overlap. False if the file
    ends before. OSError if it cannot be read.
    """
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # else more is read ahead, and never needed
    done = np.zeros(1, np.int64)
    _read(file, starts, into, np.empty(max(_AT_ONCE, into.shape[1]), np.uint8), done)
    rest = slice(int(done[0]), None)
    for row, start in zip(into[rest], starts[rest], strict=True):  # the error, if there is one
        if os.preadv(file, [row], int(start)) != len(row):
            return False
    return True
