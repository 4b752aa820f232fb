"""Probabilities of bricks, with vigra's and ilastik's own float32 arithmetic.

Per voxel and class: for each forest the float32 sum of the leaf proportions, tree by tree, divided
by its trees, times its trees; summed over the forests, divided by all trees. The sum is exact for
pure leaves, so votes are counted in whole numbers there. A NaN in any column of a voxel makes all
its probabilities 0.

Arguments: ``flat``, the bricks, float32, one after the other, each (columns, 64); the arrays of
``packing.Packed``, one by one, since as one value they cost 4 % of the speed; ``out``, float32
(bricks, classes, 64); arrays to work in, whatever they hold.
"""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines.native.forest.packing import SPARE, VOXELS
from tbseg_ops.engines.native.forest.traversal import (
    ALL,
    count_votes,
    load_brick,
    traverse,
)
from tbseg_ops.engines.native.forest.vectors import add_where, below, put_pair, threshold
from tbseg_ops.engines.native.jit import compiled, inlined

_U0, _U1 = np.uint64(0), np.uint64(1)
_FIRST = np.int64(SPARE)


@compiled
def of_pure(
    flat: NDArray[np.float32],
    columns: int,
    nodes: NDArray[np.int32],
    roots: NDArray[np.int32],
    trees: NDArray[np.int64],
    out: NDArray[np.float32],
    scratch: NDArray[np.float32],
    queue: NDArray[np.uint64],
    votes: NDArray[np.uint64],
    constant: NDArray[np.uint64],
    counts: NDArray[np.uint8],
) -> None:
    """Probabilities of forests whose leaves are all pure.

    ``votes``, ``constant``: one for each slot. ``counts``: 64 for each class.
    """
    classes = out.shape[1]
    # Trees that are a single leaf vote the same for every voxel.
    constant[:] = _U0
    for root in roots:
        if root <= 0:
            constant[-root] = ALL
    total = np.float32(trees.sum())
    for brick in range(len(out)):
        nan = load_brick(scratch, flat, brick, columns)
        for i in range(len(votes)):
            votes[i] = constant[i]
        started = 0
        for root in roots:
            if root > 0:
                put_pair(queue, np.uint64(2 * started), np.uint64(root), ALL)
                started += 1
        traverse(scratch, nodes, queue, started, votes)
        probabilities = out[brick]
        probabilities[:] = 0
        slot = _FIRST
        for forest_trees in trees:
            counts[:VOXELS] = forest_trees
            counts[VOXELS:] = 0
            for k in range(1, classes):
                count_votes(counts, k * VOXELS, votes, slot, forest_trees)
                slot += forest_trees
                for v in range(VOXELS):
                    counts[v] -= counts[k * VOXELS + v]
            size = np.float32(forest_trees)
            for k in range(classes):
                for v in range(VOXELS):
                    probabilities[k, v] += np.float32(counts[k * VOXELS + v]) / size * size
        _finish(probabilities, total, nan)


@compiled
def of_any(
    flat: NDArray[np.float32],
    columns: int,
    nodes: NDArray[np.int32],
    roots: NDArray[np.int32],
    trees: NDArray[np.int64],
    out: NDArray[np.float32],
    scratch: NDArray[np.float32],
    queue: NDArray[np.int32],
    masks: NDArray[np.uint64],
    sums: NDArray[np.float32],
    proportions: NDArray[np.float32],
) -> None:
    """Probabilities of any forests: tree after tree, since the order decides the rounding.

    ``queue``, ``masks``: for the nodes and leaves of one tree. ``sums``: 64 for each class.
    """
    classes = out.shape[1]
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
                            add_where(sums, k * VOXELS, here, proportions[-node, k])
                        continue
                    row = node * 4
                    less = here & below(
                        scratch, np.int64(nodes[row]), threshold(nodes, np.uint64(row + 3))
                    )
                    for child, mask in ((nodes[row + 1], less), (nodes[row + 2], here ^ less)):
                        if mask:
                            queue[end] = child
                            masks[end] = mask
                            end += 1
            size = np.float32(forest_trees)
            for k in range(classes):
                for v in range(VOXELS):
                    probabilities[k, v] += sums[k * VOXELS + v] / size * size
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
