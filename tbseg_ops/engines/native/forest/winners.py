"""The winning class of each voxel, without asking more trees than that takes.

After a part of the trees, voxels whose first class leads by more votes than there are trees left
take no further part. Who is left at the very end has a tie, and ilastik's float32 probabilities
decide it: rounding can differ between forests of several sizes.
"""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines.native.forest.packing import SPARE, VOXELS
from tbseg_ops.engines.native.forest.stops import NOBODY
from tbseg_ops.engines.native.forest.traversal import (
    ALL,
    count_votes,
    load_brick,
    traverse,
)
from tbseg_ops.engines.native.forest.vectors import count, exceeding, put_pair
from tbseg_ops.engines.native.jit import compiled, inlined

_B0 = np.uint8(0)
_U0, _U1 = np.uint64(0), np.uint64(1)


@compiled
def find_winners(
    flat: NDArray[np.float32],
    columns: int,
    nodes: NDArray[np.int32],
    roots: NDArray[np.int32],
    trees: NDArray[np.int64],
    out: NDArray[np.uint8],
    scratch: NDArray[np.float32],
    queue: NDArray[np.uint64],
    votes: NDArray[np.uint64],
    counts: NDArray[np.uint8],
    total: NDArray[np.uint8],
    best: NDArray[np.uint8],
    lead: NDArray[np.uint8],
    stops: NDArray[np.int64],
) -> None:
    """The class (0-based) of highest probability, uint8 (bricks, 64); NOBODY for a NaN.

    Arguments as of ``probabilities.of_pure``. ``counts``: 64 for each forest and class. ``total``:
    64 for each class. ``best``, ``lead``: 64. ``stops`` of ``stops_for``: at most MOST_TREES trees.
    """
    for brick in range(len(out)):
        nan = load_brick(scratch, flat, brick, columns)
        undecided = ALL ^ nan
        counts[:] = 0
        begin = np.int64(0)
        for stop in stops:
            votes[:] = _U0
            started = 0
            for tree in range(begin, stop):
                root = roots[tree]
                if root <= 0:
                    votes[-root] = undecided
                else:
                    put_pair(queue, np.uint64(2 * started), np.uint64(root), undecided)
                    started += 1
            traverse(scratch, nodes, queue, started, votes)
            _count_part(counts, total, votes, trees, begin, stop, undecided)
            begin = stop
            _lead(total, out[brick], best, lead)
            undecided &= ~exceeding(lead, 0, np.uint8(len(roots) - stop))
            if undecided == _U0:
                break
        if undecided | nan:
            _settle(counts, len(total), trees, undecided, nan, out[brick])


@inlined
def _count_part(
    counts: NDArray[np.uint8],
    total: NDArray[np.uint8],
    votes: NDArray[np.uint64],
    trees: NDArray[np.int64],
    begin: np.int64,
    stop: np.int64,
    undecided: np.uint64,
) -> None:
    """Add the votes of the trees begin..stop to ``counts`` and sum these up in ``total``.

    Those of the first class are all votes that a forest was asked for: what the other classes
    did not get is the first one's.
    """
    classes = len(total) // VOXELS
    first_tree = 0
    slot = np.int64(SPARE)
    for f in range(len(trees)):
        low = max(begin, first_tree)
        high = min(stop, first_tree + trees[f])
        if low < high:
            at = f * classes * VOXELS
            count(counts, at, undecided, np.uint8(high - low))
            for k in range(1, classes):
                first_slot = slot + (k - 1) * trees[f] + low - first_tree
                count_votes(counts, at + k * VOXELS, votes, first_slot, high - low)
        first_tree += trees[f]
        slot += trees[f] * (classes - 1)
    size = classes * VOXELS
    for i in range(size):
        total[i] = counts[i]
    for f in range(1, len(trees)):
        for i in range(size):
            total[i] += counts[f * size + i]
    for k in range(1, classes):
        for v in range(VOXELS):
            total[v] -= total[k * VOXELS + v]


@inlined
def _lead(
    total: NDArray[np.uint8],
    winner: NDArray[np.uint8],
    best: NDArray[np.uint8],
    lead: NDArray[np.uint8],
) -> None:
    """The class with most votes (the first of equals), and by how many it leads."""
    # Bytes throughout, on flat arrays: that is what LLVM turns into one instruction for 64 voxels.
    for v in range(VOXELS):
        winner[v] = _B0
        best[v] = total[v]
        lead[v] = _B0  # the second best, until the end
    for k in range(1, len(total) // VOXELS):
        label = np.uint8(k)
        at = k * VOXELS
        for v in range(VOXELS):
            votes = total[at + v]
            most = best[v]
            winner[v] = label if votes > most else winner[v]
            best[v] = max(votes, most)
            lead[v] = max(lead[v], min(votes, most))
    for v in range(VOXELS):
        lead[v] = np.uint8(best[v] - lead[v])


@inlined
def _settle(
    counts: NDArray[np.uint8],
    size: int,
    trees: NDArray[np.int64],
    tied: np.uint64,
    nan: np.uint64,
    winner: NDArray[np.uint8],
) -> None:
    """Ties by the probabilities of ``probabilities.of_pure``; nobody wins a voxel with a NaN."""
    for f in range(len(trees)):
        for i in range(f * size + VOXELS, (f + 1) * size):
            counts[f * size + i % VOXELS] -= counts[i]
    for v in range(VOXELS):
        bit = _U1 << np.uint64(v)
        if nan & bit:
            winner[v] = NOBODY
        elif tied & bit:
            most = np.float32(-1)
            for k in range(size // VOXELS):
                share = np.float32(0)
                for f in range(len(trees)):
                    asked = np.float32(trees[f])
                    share += np.float32(counts[f * size + k * VOXELS + v]) / asked * asked
                share /= np.float32(trees.sum())
                if share > most:
                    most = share
                    winner[v] = k
