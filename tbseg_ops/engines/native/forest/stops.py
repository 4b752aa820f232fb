"""After how many trees to look who has won, where that is asked for only."""

from math import ceil

import numpy as np
from numpy.typing import NDArray

NOBODY = 255
"""In the place of a class where all probabilities are 0; there are at most 255 classes."""

MOST_TREES = 255
"""Of all forests together: votes are counted in bytes."""

_SHARES = (0.56, 0.68, 0.8, 1.0)
"""Of the trees; nothing can be won before one half, and each look costs as much as a few trees."""


def stops_for(trees: int) -> NDArray[np.int64]:
    """After how many trees to look who has won, ascending; the last is ``trees``."""
    return np.array(sorted({ceil(trees * share) for share in _SHARES}), np.int64)
