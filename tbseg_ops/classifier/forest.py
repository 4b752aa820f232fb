"""Evaluating random forests on bricks, with vigra's and ilastik's own float32 arithmetic."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tbseg_ops.classifier.trees import Forest

BRICK = 64


class BrickForest:
    """All forests of a classifier, ready to be evaluated; safe to share between threads."""

    def __init__(self, forests: tuple[Forest, ...]) -> None:
        self.columns = forests[0].columns
        self.classes = forests[0].classes
        self._forests = forests
        self._trees = sum(f.trees for f in forests)

    def predict(self, bricks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n_bricks, classes, 64) of float32 ``bricks`` (n_bricks, columns, 64).

        A voxel with a NaN in any column gets 0 for all classes.
        """
        out = np.zeros((len(bricks), self.classes, BRICK), np.float32)
        for f in self._forests:
            _add_forest(
                bricks, f.roots, f.column, f.threshold, f.below, f.above, f.proportions, out
            )
        out /= np.float32(self._trees)
        out[np.broadcast_to(np.isnan(bricks).any(axis=1)[:, None], out.shape)] = 0
        return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_forest(bricks, roots, column, threshold, below, above, proportions, out):  # type: ignore[no-untyped-def]
    trees = np.float32(len(roots))
    classes = proportions.shape[1]
    votes = np.empty(classes, np.float32)
    for b in range(len(bricks)):
        for v in range(bricks.shape[2]):
            votes[:] = 0
            for root in roots:
                node = root
                while node >= 0:
                    if bricks[b, column[node], v] < threshold[node]:
                        node = below[node]
                    else:
                        node = above[node]
                for k in range(classes):
                    votes[k] += proportions[-1 - node, k]
            for k in range(classes):
                out[b, k, v] += votes[k] / trees * trees
