"""The kernel that reads rows out of a file: see ``rows``."""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from tbseg_ops.engines.native.jit import compiled

_PAGE = 4096

_pread: Any = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)


@compiled
def read(
    file: int,
    starts: NDArray[np.int64],
    into: NDArray[np.uint8],
    piece: NDArray[np.uint8],
    done: NDArray[np.int64],
) -> None:
    """``done[0]`` becomes how many rows were read before one was not, or not wholly.

    ``piece``: to read into what is between rows, too.
    """
    rows, length = into.shape
    row = 0
    while row < rows:
        end = _close(starts, row, length, piece.size)
        nbytes = starts[end - 1] + length - starts[row]
        at = into.ctypes.data + row * length if end == row + 1 else piece.ctypes.data
        if _pread(np.int32(file), np.uintp(at), np.uintp(nbytes), starts[row]) != nbytes:
            break
        if end > row + 1:
            for each in range(row, end):
                begin = starts[each] - starts[row]
                for i in range(length):
                    into[each, i] = piece[begin + i]
        row = end
    done[0] = row


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
