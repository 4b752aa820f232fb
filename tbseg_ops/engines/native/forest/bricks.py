"""Random forests, evaluated on bricks: 4x4x4 voxels, column by column, float32 (columns, 64)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.forests import Forest
from tbseg_ops.engines.native.forest.packing import (
    VOXELS,
    can_be_counted,
    pack_proportions,
    pack_votes,
)
from tbseg_ops.engines.native.forest.stops import MOST_TREES, NOBODY, stops_for
from tbseg_ops.engines.native.kernels import FLOATS, INT, INTS, Array, Kernel

_NODES, _MASKS, _BYTES = Array.of("int32"), Array.of("uint64"), Array.of("uint8")
_TABLE = FLOATS, INT, _NODES, _NODES, INTS
_of_pure = Kernel(
    "engines.native.forest.probabilities",
    "of_pure",
    *(*_TABLE, Array.of("float32", 3), FLOATS, _MASKS, _MASKS, _MASKS, _BYTES),
)
_of_any = Kernel(
    "engines.native.forest.probabilities",
    "of_any",
    *(*_TABLE, Array.of("float32", 3), FLOATS, _NODES, _MASKS, FLOATS, Array.of("float32", 2)),
)
_find_winners = Kernel(
    "engines.native.forest.winners",
    "find_winners",
    *(*_TABLE, Array.of("uint8", 2), FLOATS, _MASKS, _MASKS, _BYTES, _BYTES, _BYTES, _BYTES, INTS),
)
_LINE = 64  # bytes of a cache line


class BrickForest:
    """All forests of a classifier, ready to be evaluated; safe to share between threads."""

    def __init__(self, forests: tuple[Forest, ...]) -> None:
        self.columns = forests[0].columns
        self.classes = forests[0].classes
        self._counted = can_be_counted(forests)
        self._packed = pack_votes(forests) if self._counted else pack_proportions(forests)
        trees = sum(forest.trees for forest in forests)
        stoppable = self._counted and trees <= MOST_TREES
        self._stops = stops_for(trees) if stoppable else None

    def predict(self, bricks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, float32 (n, classes, 64), of C-contiguous ``bricks`` (n, columns, 64)."""
        out = np.empty((len(bricks), self.classes, VOXELS), np.float32)
        table = self._table(bricks)
        if self._counted:
            counts = np.empty(self.classes * VOXELS, np.uint8)
            _of_pure(*table, out, self._scratch(), self._queue(), *self._slots(2), counts)
        else:
            queue = np.empty(len(self._packed.nodes) // 2 + 1, np.int32)
            masks = np.empty(len(queue), np.uint64)
            sums = np.empty(self.classes * VOXELS, np.float32)
            _of_any(*table, out, self._scratch(), queue, masks, sums, self._packed.proportions)
        return out

    def winners(self, bricks: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The class (0-based) of highest probability, uint8 (n, 64): the first of equals.

        NOBODY where all probabilities are 0. Where votes can be counted, voxels leave as soon as
        no tree can change their winner.
        """
        if self._stops is None:
            probabilities = self.predict(bricks)
            best = np.asarray(probabilities.argmax(axis=1), np.uint8)
            best[~probabilities.any(axis=1)] = NOBODY
            return best
        out = np.empty((len(bricks), VOXELS), np.uint8)
        total = np.empty(self.classes * VOXELS, np.uint8)
        counts = np.empty(len(self._packed.trees) * len(total), np.uint8)
        best, lead = np.empty((2, VOXELS), np.uint8)
        room = self._scratch(), self._queue(), *self._slots(1), counts, total, best, lead
        _find_winners(*self._table(bricks), out, *room, self._stops)
        return out

    def _table(self, bricks: NDArray[np.float32]) -> tuple[Any, ...]:
        """What all kernels begin with."""
        if bricks.shape[1:] != (self.columns, VOXELS) or bricks.dtype != np.float32:
            raise ValueError(f"bricks of (any, {self.columns}, {VOXELS}) float32: {bricks.shape}")
        flat = np.ascontiguousarray(bricks).reshape(-1)
        return flat, self.columns, self._packed.nodes, self._packed.roots, self._packed.trees

    def _scratch(self) -> NDArray[np.float32]:
        """For one brick, from a cache line on: loads across two cost a third of the speed."""
        size = self.columns * VOXELS
        scratch = np.empty(size + _LINE // 4, np.float32)
        skip = (-scratch.ctypes.data % _LINE) // 4
        return scratch[skip : skip + size]

    def _queue(self) -> NDArray[np.uint64]:
        """Long enough for all trees: a pair of node and mask for each entry."""
        entries = len(self._packed.nodes) // 4 + len(self._packed.roots) + 2
        return np.empty(2 * entries, np.uint64)

    def _slots(self, tables: int) -> NDArray[np.uint64]:
        """Vote tables, a mask for each slot."""
        return np.empty((tables, self._packed.slots), np.uint64)
