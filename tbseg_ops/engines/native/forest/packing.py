"""Random forests laid out for bricks: one table of nodes for all trees of all forests.

A row of the table is 16 bytes, int32: offset of the column in a brick, reference to the child for
``x < threshold``, reference to the other child, bits of the float32 threshold. A reference > 0 is
a row; row 0 is never one. What a reference <= 0 means depends on the table:

- pure forests: minus a *slot* of a vote table, in which each tree has one 64-bit mask per class but
  the first. Leaves of the first class vote into spare slots that nobody reads.
- any forests: minus a row of ``proportions``.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.forests import Forest

VOXELS = 64
"""Of a brick."""

SPARE = 64
"""Slots that take the votes nobody counts; many, since a write to the one just written waits."""

_MOST_TREES = 255
"""Per forest: votes are counted in bytes."""


class Packed(NamedTuple):
    """``nodes``: int32 (rows * 4,).

    ``roots``: int32 (trees,), references, forest by forest. ``trees``: int64 (forests,), trees of
    each. ``proportions``: float32 (leaves, classes), empty for pure forests. ``slots``: length of
    the vote table, 0 for the general form.
    """

    nodes: NDArray[np.int32]
    roots: NDArray[np.int32]
    trees: NDArray[np.int64]
    proportions: NDArray[np.float32]
    slots: int
    classes: int


def can_be_counted(forests: tuple[Forest, ...]) -> bool:
    """Whether votes are whole and few enough for ``pack_votes``."""
    return all(forest.pure and forest.trees <= _MOST_TREES for forest in forests)


def pack_votes(forests: tuple[Forest, ...]) -> Packed:
    """For forests whose leaves are all pure: leaves refer to slots of the vote table."""
    targets = []
    slots = SPARE
    for forest in forests:
        label = forest.proportions.argmax(axis=1)
        voting = slots + (label - 1) * forest.trees + forest.leaf_tree
        targets.append(np.where(label > 0, voting, 1 + np.arange(len(label)) % (SPARE - 1)))
        slots += (forest.classes - 1) * forest.trees
    return _packed(forests, targets, np.empty((0, forests[0].classes), np.float32), slots)


def pack_proportions(forests: tuple[Forest, ...]) -> Packed:
    """For all forests: leaves refer to their class proportions (row 0 is not used)."""
    targets = []
    first = 1
    for forest in forests:
        targets.append(np.arange(first, first + len(forest.proportions)))
        first += len(forest.proportions)
    unused = np.zeros((1, forests[0].classes), np.float32)
    rows = np.concatenate([unused, *(forest.proportions for forest in forests)])
    return _packed(forests, targets, rows, 0)


def _packed(
    forests: tuple[Forest, ...],
    targets: list[NDArray[Any]],
    proportions: NDArray[np.float32],
    slots: int,
) -> Packed:
    first = 1
    parts = [np.zeros((1, 4), np.int32)]
    roots = []
    for forest, target in zip(forests, targets, strict=True):
        part = np.empty((len(forest.column), 4), np.int32)
        part[:, 0] = forest.column * VOXELS
        part[:, 1] = _references(forest.below, first, target)
        part[:, 2] = _references(forest.above, first, target)
        part[:, 3] = forest.threshold.view(np.int32)
        parts.append(part)
        roots.append(_references(forest.roots, first, target))
        first += len(part)
    nodes = np.concatenate(parts).reshape(-1)
    return Packed(
        nodes=nodes,
        roots=np.concatenate(roots).astype(np.int32),
        trees=np.array([forest.trees for forest in forests], np.int64),
        proportions=proportions,
        slots=slots,
        classes=forests[0].classes,
    )


def _references(children: NDArray[np.int32], first: int, target: NDArray[Any]) -> NDArray[np.int64]:
    """Row numbers for inner nodes, minus their target for leaves."""
    leaf = np.where(children < 0, -1 - children, 0)
    return np.where(children >= 0, children.astype(np.int64) + first, -target[leaf])
