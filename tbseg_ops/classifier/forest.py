"""Evaluating random forests on bricks, with vigra's and ilastik's own float32 arithmetic.

A brick is 4x4x4 voxels, column by column: float32 (columns, 64). Neighbouring voxels go the same
way through a tree, so they are sent through together: a queue holds (node, mask of the voxels that
are there), one visit compares all 64 values of a column with the threshold and splits the mask.
One queue runs through all trees at once, which hides the latency of memory; nothing branches on
the data but the end of the queue.

The arithmetic, per voxel and class: for each forest the float32 sum of the leaf proportions, tree
by tree, divided by its trees, times its trees; summed over the forests, divided by all trees. The
sum is exact for pure leaves, so votes are counted in whole numbers there. A NaN in any column of
a voxel makes all its probabilities 0.
"""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.jit import compiled, inlined
from tbseg_ops.classifier.lanes import VOXELS, add_where, below, copied, count
from tbseg_ops.classifier.packing import SPARE, can_be_counted, pack_proportions, pack_votes
from tbseg_ops.classifier.trees import Forest

_LINE = 64
_U0, _U1 = np.uint64(0), np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_SIGN = np.int64(63)
_SPARE = np.int64(SPARE - 1)
_FIRST = np.int64(SPARE)


class BrickForest:
    """All forests of a classifier, ready to be evaluated; safe to share between threads."""

    def __init__(self, forests: tuple[Forest, ...]) -> None:
        self.columns = forests[0].columns
        self.classes = forests[0].classes
        self._counted = can_be_counted(forests)
        self._packed = pack_votes(forests) if self._counted else pack_proportions(forests)

    def predict(self, bricks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, classes, 64), of C-contiguous ``bricks`` (n, columns, 64)."""
        if bricks.shape[1:] != (self.columns, VOXELS) or bricks.dtype != np.float32:
            raise ValueError(f"bricks of (any, {self.columns}, {VOXELS}) float32: {bricks.shape}")
        out = np.empty((len(bricks), self.classes, VOXELS), np.float32)
        p = self._packed
        flat = np.ascontiguousarray(bricks).reshape(-1)
        thresholds = p.nodes.view(np.float32)
        if self._counted:
            _count_votes(flat, self.columns, p.nodes, thresholds, p.roots, p.trees, p.slots, out)
        else:
            _sum_proportions(
                flat, self.columns, p.nodes, thresholds, p.roots, p.trees, p.proportions, out
            )
        return out


@inlined
def _aligned(size: int) -> NDArray[np.float32]:
    """Scratch that starts at a cache line: loads across two lines cost a third of the speed."""
    scratch = np.empty(size + _LINE // 4, np.float32)
    skip = (-scratch.ctypes.data % _LINE) // 4
    return scratch[skip : skip + size]


@inlined
def _load(
    scratch: NDArray[np.float32], flat: NDArray[np.float32], brick: int, columns: int
) -> np.uint64:
    """Copy a brick into ``scratch``; the mask of voxels with a NaN in any column."""
    nan = _U0
    for column in range(columns):
        at = column * VOXELS
        nan |= copied(scratch, at, flat, (brick * columns) * VOXELS + at)
    return nan


@compiled
def _count_votes(
    flat: NDArray[np.float32],
    columns: int,
    nodes: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    roots: NDArray[np.int32],
    trees: NDArray[np.int64],
    slots: int,
    out: NDArray[np.float32],
) -> None:
    """Probabilities of forests whose leaves are all pure."""
    classes = out.shape[1]
    scratch = _aligned(columns * VOXELS)
    queue = np.empty(len(nodes) // 4 + len(roots) + 2, np.uint32)
    masks = np.empty(len(queue), np.uint64)
    votes = np.empty(slots, np.uint64)
    # Trees that are a single leaf vote the same for every voxel.
    constant = np.zeros(slots, np.uint64)
    started = 0
    for root in roots:
        if root <= 0:
            constant[-root] = _ALL
        else:
            queue[started] = root
            started += 1
    counts = np.empty((classes, VOXELS), np.uint8)
    bytes_ = counts.reshape(-1)
    total = np.float32(trees.sum())
    for brick in range(len(out)):
        nan = _load(scratch, flat, brick, columns)
        votes[:] = constant
        masks[:started] = _ALL
        _walk(scratch, nodes, thresholds, queue, masks, started, votes)
        probabilities = out[brick]
        probabilities[:] = 0
        slot = _FIRST
        for forest_trees in trees:
            counts[0] = forest_trees
            counts[1:] = 0
            for k in range(1, classes):
                for _ in range(forest_trees):
                    count(bytes_, k * VOXELS, votes[slot])
                    slot += 1
                for v in range(VOXELS):
                    counts[0, v] -= counts[k, v]
            size = np.float32(forest_trees)
            for k in range(classes):
                for v in range(VOXELS):
                    probabilities[k, v] += np.float32(counts[k, v]) / size * size
        for k in range(classes):
            for v in range(VOXELS):
                probabilities[k, v] /= total
        if nan:
            _clear(probabilities, nan)


@inlined
def _walk(
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
        row = np.uint64(queue[head]) * np.uint64(4)
        here = masks[head]
        head += _U1
        less = here & below(scratch, np.int64(nodes[row]), thresholds[row + np.uint64(3)])
        rest = here ^ less
        low = np.int64(nodes[row + _U1])
        high = np.int64(nodes[row + np.uint64(2)])
        votes[np.uint64(-low if low <= 0 else low & _SPARE)] |= less
        votes[np.uint64(-high if high <= 0 else high & _SPARE)] |= rest
        queue[end] = np.uint32(low)
        masks[end] = less
        end += np.uint64((less & np.uint64(~(low >> _SIGN))) != _U0)
        queue[end] = np.uint32(high)
        masks[end] = rest
        end += np.uint64((rest & np.uint64(~(high >> _SIGN))) != _U0)


@compiled
def _sum_proportions(
    flat: NDArray[np.float32],
    columns: int,
    nodes: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    roots: NDArray[np.int32],
    trees: NDArray[np.int64],
    proportions: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Probabilities of any forests: tree after tree, since the order decides the rounding."""
    classes = out.shape[1]
    scratch = _aligned(columns * VOXELS)
    queue = np.empty(len(nodes) // 2 + 1, np.int32)  # the nodes and leaves of one tree
    masks = np.empty(len(queue), np.uint64)
    sums = np.empty((classes, VOXELS), np.float32)
    flat_sums = sums.reshape(-1)
    total = np.float32(trees.sum())
    for brick in range(len(out)):
        nan = _load(scratch, flat, brick, columns)
        probabilities = out[brick]
        probabilities[:] = 0
        tree = 0
        for forest_trees in trees:
            sums[:] = 0
            for _ in range(forest_trees):
                queue[0] = roots[tree]
                masks[0] = _ALL
                tree += 1
                head, end = 0, 1
                while head < end:
                    node = np.int64(queue[head])
                    here = masks[head]
                    head += 1
                    if node <= 0:
                        for k in range(classes):
                            add_where(flat_sums, k * VOXELS, here, proportions[-node, k])
                        continue
                    row = node * 4
                    less = here & below(scratch, np.int64(nodes[row]), thresholds[row + 3])
                    for child, mask in ((nodes[row + 1], less), (nodes[row + 2], here ^ less)):
                        if mask:
                            queue[end] = child
                            masks[end] = mask
                            end += 1
            size = np.float32(forest_trees)
            for k in range(classes):
                for v in range(VOXELS):
                    probabilities[k, v] += sums[k, v] / size * size
        for k in range(classes):
            for v in range(VOXELS):
                probabilities[k, v] /= total
        if nan:
            _clear(probabilities, nan)


@inlined
def _clear(probabilities: NDArray[np.float32], voxels: np.uint64) -> None:
    for v in range(VOXELS):
        if (voxels >> np.uint64(v)) & _U1:
            probabilities[:, v] = 0
