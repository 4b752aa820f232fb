"""Probabilities of bricks, with vigra's and ilastik's own float32 arithmetic.

Per voxel and class: for each forest the float32 sum of the leaf proportions, tree by tree, divided
by its trees, times its trees; summed over the forests, divided by all trees. The sum is exact for
pure leaves, so votes are counted in whole numbers there. A NaN in any column of a voxel makes all
its probabilities 0.

Arguments: ``flat``, the bricks, float32, one after the other, each (columns, 64); the arrays of
``packing.Packed``, one by one, since as one value they cost 4 % of the speed; ``out``, float32
(bricks, classes, 64).
"""

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
from tbseg_ops.engines.native.forest.vectors import VOXELS, add_where, below
from tbseg_ops.engines.native.jit import compiled, inlined

_U1 = np.uint64(1)
_FIRST = np.int64(SPARE)


@compiled
def of_pure(
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
    scratch = aligned(columns * VOXELS)
    queue = np.empty(len(nodes) // 4 + len(roots) + 2, np.uint32)
    masks = np.empty(len(queue), np.uint64)
    votes = np.empty(slots, np.uint64)
    # Trees that are a single leaf vote the same for every voxel.
    constant = np.zeros(slots, np.uint64)
    started = 0
    for root in roots:
        if root <= 0:
            constant[-root] = ALL
        else:
            queue[started] = root
            started += 1
    counts = np.empty((classes, VOXELS), np.uint8)
    bytes_ = counts.reshape(-1)
    total = np.float32(trees.sum())
    for brick in range(len(out)):
        nan = load_brick(scratch, flat, brick, columns)
        votes[:] = constant
        masks[:started] = ALL
        traverse(scratch, nodes, thresholds, queue, masks, started, votes)
        probabilities = out[brick]
        probabilities[:] = 0
        slot = _FIRST
        for forest_trees in trees:
            counts[0] = forest_trees
            counts[1:] = 0
            for k in range(1, classes):
                count_votes(bytes_, k * VOXELS, votes, slot, forest_trees)
                slot += forest_trees
                for v in range(VOXELS):
                    counts[0, v] -= counts[k, v]
            size = np.float32(forest_trees)
            for k in range(classes):
                for v in range(VOXELS):
                    probabilities[k, v] += np.float32(counts[k, v]) / size * size
        _finish(probabilities, total, nan)


@compiled
def of_any(
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
    scratch = aligned(columns * VOXELS)
    queue = np.empty(len(nodes) // 2 + 1, np.int32)  # the nodes and leaves of one tree
    masks = np.empty(len(queue), np.uint64)
    sums = np.empty((classes, VOXELS), np.float32)
    flat_sums = sums.reshape(-1)
    total = np.float32(trees.sum())
    for brick in range(len(out)):
        nan = load_brick(scratch, flat, brick, columns)
        probabilities = out[brick]
        probabilities[:] = 0
        tree = 0
        for forest_trees in trees:
            sums[:] = 0
            for _ in range(forest_trees):
                queue[0] = roots[tree]
                masks[0] = ALL
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
        _finish(probabilities, total, nan)


@inlined
def _finish(probabilities: NDArray[np.float32], trees: np.float32, nan: np.uint64) -> None:
    for k in range(len(probabilities)):
        for v in range(VOXELS):
            probabilities[k, v] /= trees
    if nan:
        for v in range(VOXELS):
            if (nan >> np.uint64(v)) & _U1:
                probabilities[:, v] = 0
