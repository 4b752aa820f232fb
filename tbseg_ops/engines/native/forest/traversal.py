"""Sending a brick through trees.

Neighbouring voxels go the same way through a tree, so they are sent through together: a queue holds
(node, mask of the voxels that are there), one visit compares all 64 values of a column with the
threshold and splits the mask. One queue runs through many trees at once, which hides the latency of
memory; nothing branches on the data but the end of the queue.
"""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines.native.forest.packing import SPARE
from tbseg_ops.engines.native.forest.vectors import VOXELS, below, copied, count, count_eight
from tbseg_ops.engines.native.jit import inlined

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

_ONE = np.uint8(1)
_LINE = 64
_U0, _U1, _U2, _U3, _U4 = (np.uint64(n) for n in (0, 1, 2, 3, 4))
_SIGN = np.int64(63)
_SPARE = np.int64(SPARE - 1)


@inlined
def aligned(size: int) -> NDArray[np.float32]:
    """Scratch that starts at a cache line: loads across two lines cost a third of the speed."""
    scratch = np.empty(size + _LINE // 4, np.float32)
    skip = (-scratch.ctypes.data % _LINE) // 4
    return scratch[skip : skip + size]


@inlined
def load_brick(
    scratch: NDArray[np.float32], flat: NDArray[np.float32], brick: int, columns: int
) -> np.uint64:
    """Copy a brick into ``scratch``; the mask of voxels with a NaN in any column."""
    nan = _U0
    for column in range(columns):
        at = column * VOXELS
        nan |= copied(scratch, at, flat, (brick * columns) * VOXELS + at)
    return nan


@inlined
def traverse(
    scratch: NDArray[np.float32],
    nodes: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    queue: NDArray[np.uint32],
    masks: NDArray[np.uint64],
    started: int,
    votes: NDArray[np.uint64],
) -> None:
    """Send the brick through all trees whose roots are the first ``started`` of the queue.

    Both children are written behind the end of the queue, which then moves on only if the child
    is a node (reference > 0: its sign bits are 0) that any voxel reaches. Both masks are voted:
    a node's into a spare slot.
    """
    end = np.uint64(started)
    head = _U0
    while head < end:
        row = np.uint64(queue[head]) * _U4
        here = masks[head]
        head += _U1
        less = here & below(scratch, np.int64(nodes[row]), thresholds[row + _U3])
        rest = here ^ less
        low = np.int64(nodes[row + _U1])
        high = np.int64(nodes[row + _U2])
        votes[np.uint64(-low if low <= 0 else low & _SPARE)] |= less
        votes[np.uint64(-high if high <= 0 else high & _SPARE)] |= rest
        queue[end] = np.uint32(low)
        masks[end] = less
        end += np.uint64((less & np.uint64(~(low >> _SIGN))) != _U0)
        queue[end] = np.uint32(high)
        masks[end] = rest
        end += np.uint64((rest & np.uint64(~(high >> _SIGN))) != _U0)


@inlined
def count_votes(
    counts: NDArray[np.uint8], at: int, votes: NDArray[np.uint64], first: np.int64, trees: np.int64
) -> None:
    """Add the votes of ``trees`` trees, from slot ``first`` on, to 64 counts from ``at`` on."""
    last = first + trees
    while first + 8 <= last:
        count_eight(counts, at, votes, first)
        first += 8
    while first < last:
        count(counts, at, votes[first], _ONE)
        first += 1
