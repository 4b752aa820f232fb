"""The winning class of each voxel, without asking more trees than that takes.

After a part of the trees, voxels whose first class leads by more votes than there are trees left
take no further part. Who is left at the very end has a tie, and ilastik's float32 probabilities
decide it: rounding can differ between forests of several sizes.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines.native.forest.packing import SPARE
from tbseg_ops.engines.native.forest.traversal import (
    ALL,
    aligned,
    count_votes,
    load_brick,
    traverse,
)
from tbseg_ops.engines.native.forest.vectors import VOXELS, count, exceeding
from tbseg_ops.engines.native.jit import compiled, inlined

_B0 = np.uint8(0)
_U0, _U1 = np.uint64(0), np.uint64(1)

NOBODY = 255
"""In the place of a class where all probabilities are 0; there are at most 255 classes."""

MOST_TREES = 255
"""Of all forests together: votes are counted in bytes."""

_SHARES = (0.56, 0.68, 0.8, 1.0)
"""Of the trees; nothing can be won before one half, and each look costs as much as a few trees."""


def stops_for(trees: int) -> NDArray[np.int64]:
    """After how many trees to look who has won, ascending; the last is ``trees``."""
    return np.unique([ceil(trees * share) for share in _SHARES]).astype(np.int64)


@compiled
def find_winners(
    flat: NDArray[np.float32],
    columns: int,
    nodes: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    roots: NDArray[np.int32],
    trees: NDArray[np.int64],
    slots: int,
    classes: int,
    stops: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """The class (0-based) of highest probability, uint8 (bricks, 64); NOBODY for a NaN.

    Arguments as of ``probabilities.of_pure``; ``stops`` of ``stops_for``. At most MOST_TREES trees.
    """
    forests = len(trees)
    scratch = aligned(columns * VOXELS)
    queue = np.empty(len(nodes) // 4 + len(roots) + 2, np.uint32)
    masks = np.empty(len(queue), np.uint64)
    votes = np.empty(slots, np.uint64)
    counts = np.empty((forests, classes, VOXELS), np.uint8)
    total = np.empty((classes, VOXELS), np.uint8)
    best = np.empty(VOXELS, np.uint8)
    lead = np.empty(VOXELS, np.uint8)
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
                    queue[started] = root
                    masks[started] = undecided
                    started += 1
            traverse(scratch, nodes, thresholds, queue, masks, started, votes)
            _count_part(counts, total, votes, trees, begin, stop, undecided)
            begin = stop
            _lead(total, out[brick], best, lead)
            undecided &= ~exceeding(lead, 0, np.uint8(len(roots) - stop))
            if undecided == _U0:
                break
        if undecided | nan:
            _settle(counts, trees, undecided, nan, out[brick])


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

    counts[f, 0] are all votes that forest f was asked for: what the other classes did not get is
    the first one's.
    """
    forests, classes, _ = counts.shape
    flat = counts.reshape(-1)
    first_tree = 0
    slot = np.int64(SPARE)
    for f in range(forests):
        low = max(begin, first_tree)
        high = min(stop, first_tree + trees[f])
        if low < high:
            at = f * classes * VOXELS
            count(flat, at, undecided, np.uint8(high - low))
            for k in range(1, classes):
                first_slot = slot + (k - 1) * trees[f] + low - first_tree
                count_votes(flat, at + k * VOXELS, votes, first_slot, high - low)
        first_tree += trees[f]
        slot += trees[f] * (classes - 1)
    sums = total.reshape(-1)
    size = classes * VOXELS
    for i in range(size):
        sums[i] = flat[i]
    for f in range(1, forests):
        for i in range(size):
            sums[i] += flat[f * size + i]
    for k in range(1, classes):
        for v in range(VOXELS):
            sums[v] -= sums[k * VOXELS + v]


@inlined
def _lead(
    total: NDArray[np.uint8],
    winner: NDArray[np.uint8],
    best: NDArray[np.uint8],
    lead: NDArray[np.uint8],
) -> None:
    """The class with most votes (the first of equals), and by how many it leads."""
    # Bytes throughout, on flat arrays: that is what LLVM turns into one instruction for 64 voxels.
    sums = total.reshape(-1)
    for v in range(VOXELS):
        winner[v] = _B0
        best[v] = sums[v]
        lead[v] = _B0  # the second best, until the end
    for k in range(1, len(total)):
        label = np.uint8(k)
        at = k * VOXELS
        for v in range(VOXELS):
            votes = sums[at + v]
            most = best[v]
            winner[v] = label if votes > most else winner[v]
            best[v] = max(votes, most)
            lead[v] = max(lead[v], min(votes, most))
    for v in range(VOXELS):
        lead[v] = np.uint8(best[v] - lead[v])


@inlined
def _settle(
    counts: NDArray[np.uint8],
    trees: NDArray[np.int64],
    tied: np.uint64,
    nan: np.uint64,
    winner: NDArray[np.uint8],
) -> None:
    """Ties by the probabilities of ``probabilities.of_pure``; nobody wins a voxel with a NaN."""
    forests, classes, _ = counts.shape
    for f in range(forests):
        for k in range(1, classes):
            counts[f, 0] -= counts[f, k]
    for v in range(VOXELS):
        bit = _U1 << np.uint64(v)
        if nan & bit:
            winner[v] = NOBODY
        elif tied & bit:
            most = np.float32(-1)
            for k in range(classes):
                share = np.float32(0)
                for f in range(forests):
                    size = np.float32(trees[f])
                    share += np.float32(counts[f, k, v]) / size * size
                share /= np.float32(trees.sum())
                if share > most:
                    most = share
                    winner[v] = k
