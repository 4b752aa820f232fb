"""Random forests, evaluated on bricks: 4x4x4 voxels, column by column, float32 (columns, 64)."""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.forests import Forest
from tbseg_ops.engines.native.forest.packing import can_be_counted, pack_proportions, pack_votes
from tbseg_ops.engines.native.forest.probabilities import of_any, of_pure
from tbseg_ops.engines.native.forest.vectors import VOXELS
from tbseg_ops.engines.native.forest.winners import MOST_TREES, NOBODY, find_winners, stops_for


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
        flat = self._checked(bricks)
        out = np.empty((len(bricks), self.classes, VOXELS), np.float32)
        p = self._packed
        table = flat, self.columns, p.nodes, p.thresholds, p.roots, p.trees
        if self._counted:
            of_pure(*table, p.slots, out)
        else:
            of_any(*table, p.proportions, out)
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
        flat = self._checked(bricks)
        out = np.empty((len(bricks), VOXELS), np.uint8)
        p = self._packed
        table = flat, self.columns, p.nodes, p.thresholds, p.roots, p.trees
        find_winners(*table, p.slots, self.classes, self._stops, out)
        return out

    def _checked(self, bricks: NDArray[np.float32]) -> NDArray[np.float32]:
        if bricks.shape[1:] != (self.columns, VOXELS) or bricks.dtype != np.float32:
            raise ValueError(f"bricks of (any, {self.columns}, {VOXELS}) float32: {bricks.shape}")
        return np.ascontiguousarray(bricks).reshape(-1)
