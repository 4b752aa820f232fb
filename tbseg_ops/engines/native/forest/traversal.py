"""Sending a brick through trees.

Neighbouring voxels go the same way through a tree, so they are sent through together: a queue holds
(node, mask of the voxels that are there), one visit compares all 64 values of a column with the
threshold and splits the mask. One queue runs through many trees at once, which hides the latency of
memory; nothing branches on the data but the end of the queue.
"""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines.native.forest.packing import SPARE, VOXELS
from tbseg_ops.engines.native.forest.vectors import (
    below,
    copied,
    count,
    count_eight,
    put_pair,
    threshold,
)
from tbseg_ops.engines.native.jit import inlined

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

_ONE = np.uint8(1)
_U0, _U1, _U2, _U3, _U4, _U5, _U6 = (np.uint64(n) for n in range(7))
_SIGN = np.int64(63)
_SPARE = np.int64(SPARE - 1)


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
    queue: NDArray[np.uint64],
    started: int,
    votes: NDArray[np.uint64],
) -> None:
    """Send the brick through all trees whose roots are the first ``started`` of the queue.

    Three visits at a time: where a processor writes depends on the compares before, and until it
    knows that, it does not read on. So first all is read, then all is written.
    """
    end = np.uint64(started) * _U2
    head = _U0
    while head + _U4 < end:
        row1, here1 = queue[head], queue[head + _U1]
        row2, here2 = queue[head + _U2], queue[head + _U3]
        row3, here3 = queue[head + _U4], queue[head + _U5]
        head += _U6
        low1, high1, less1 = _visit(scratch, nodes, row1, here1)
        low2, high2, less2 = _visit(scratch, nodes, row2, here2)
        low3, high3, less3 = _visit(scratch, nodes, row3, here3)
        end = _sent(queue, votes, end, low1, less1)
        end = _sent(queue, votes, end, high1, here1 ^ less1)
        end = _sent(queue, votes, end, low2, less2)
        end = _sent(queue, votes, end, high2, here2 ^ less2)
        end = _sent(queue, votes, end, low3, less3)
        end = _sent(queue, votes, end, high3, here3 ^ less3)
    while head < end:
        row, here = queue[head], queue[head + _U1]
        head += _U2
        low, high, less = _visit(scratch, nodes, row, here)
        end = _sent(queue, votes, end, low, less)
        end = _sent(queue, votes, end, high, here ^ less)


@inlined
def _visit(
    scratch: NDArray[np.float32], nodes: NDArray[np.int32], row: np.uint64, here: np.uint64
) -> tuple[np.int64, np.int64, np.uint64]:
    """The references to both children of a node, and who of ``here`` goes to the first."""
    at = row * _U4
    less = here & below(scratch, np.int64(nodes[at]), threshold(nodes, at + _U3))
    return np.int64(nodes[at + _U1]), np.int64(nodes[at + _U2]), less


@inlined
def _sent(
    queue: NDArray[np.uint64],
    votes: NDArray[np.uint64],
    end: np.uint64,
    child: np.int64,
    mask: np.uint64,
) -> np.uint64:
    """The end of the queue when these voxels were sent to a child.

    The child is written behind the end, which then moves on only if it is a node (reference > 0:
    its sign bits are 0) that any voxel reaches. The mask is voted: a node's into a spare slot.
    """
    votes[np.uint64(-child if child <= 0 else child & _SPARE)] |= mask
    put_pair(queue, end, np.uint64(child), mask)
    return end + np.uint64((mask & np.uint64(~(child >> _SIGN))) != _U0) * _U2


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
