"""What an engine is."""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.passport import Passport
from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box
from tbseg_ops.options import EngineName

# Part of every key of a run: change it whenever a probability could change.
NATIVE_TOO = ", or use --engine native"
"""The end of a mend, where the other engine may do."""

NATIVE_TOO = ", or use --engine native"
"""The end of a mend, where the other engine may do."""

NATIVE_VERSION = "2"

_MOST_AT_ONCE, _VALUES_AT_ONCE = 16, 1 << 25


class Engine(Protocol):
    """Predicts tiles with one classifier. ``version`` changes whenever a result could change."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def predict(self, raw: NDArray[Any], core: Box) -> NDArray[np.float32]:
        """Probabilities (K, z, y, x), float32, C-contiguous, of the core of a tile.

        raw: (z, y, x, c), the tile's halo box, mirrored at all its faces. core: relative to raw.
        """
        ...

    def predict_all(
        self, tiles: Sequence[tuple[NDArray[Any], Box]]
    ) -> Generator[NDArray[np.float32], None, None]:
        """``predict`` of each, as it comes; where a start costs much, for the price of one."""
        ...

    def predict_labels(self, raw: NDArray[Any], core: Box) -> NDArray[np.uint8]:
        """``hard_labels(predict(raw, core))``, uint8 (z, y, x), where possible in less time."""
        ...


class ClassifierChangedError(InputError):
    """The classifier is no longer the one of the passport."""


def check_unchanged(passport: Passport, now: Passport) -> None:
    """ClassifierChangedError unless ``now``, just read, is the classifier of ``passport``."""
    if now.digest != passport.digest:
        raise ClassifierChangedError(
            "the classifier changed since the plan was made",
            file=passport.path,
            expected=f"digest {passport.digest}",
            found=now.digest,
            mend="plan again with --update, or put the classifier back",
        )


def bit_stable(name: EngineName) -> bool:
    """Whether an engine gives the same bits for every tile shape and machine.

    The program ilastik need not: in some of its builds the last bits of features depend on how it
    cuts a volume into blocks (docs/exactness.md).
    """
    return name == "native"


def at_once(name: EngineName, values: int) -> int:
    """How many tiles of up to so many ``values`` (voxels times channels) ``predict_all`` is for.

    The program ilastik takes seconds to start. Not more than what is held twice without harm: in
    memory, and with its outputs in a temporary folder.
    """
    if name == "native":
        return 1
    return max(1, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // values))


def hard_labels(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The label (1-based) of highest probability along the first axis, uint8.

    Ties go to the lower label, so voxels whose probabilities are all 0 get 1, as in ilastik.
    """
    best = probabilities[0].copy()
    labels = np.ones(best.shape, np.uint8)
    for k in range(1, len(probabilities)):
        labels[probabilities[k] > best] = k + 1
        np.maximum(best, probabilities[k], out=best)
    return labels
