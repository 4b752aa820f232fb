"""What an engine is, and how to get one. Importing this module does not load numba."""

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.passport import Passport, read_classifier
from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box, Index

# Part of every key of a run: change it whenever a probability could change.
NATIVE_VERSION = "2"


EngineName = Literal["native", "ilastik"]


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

    def predict_labels(self, raw: NDArray[Any], core: Box) -> NDArray[np.uint8]:
        """``hard_labels(predict(raw, core))``, uint8 (z, y, x), where possible in less time."""
        ...


def check_engine(name: EngineName, passport: Passport) -> str:
    """The version of the engine that would run this classifier; loads no numba.

    InputError if the engine lacks what the classifier needs, ConfigError if it is not installed.
    """
    if name == "ilastik":
        from tbseg_ops.engines.ilastik.engine import find_ilastik
        from tbseg_ops.engines.ilastik.safe_project import safe_project

        safe_project(passport.path)  # refuses now what it would refuse at the first tile
        return find_ilastik().version
    if passport.native_refusals:
        raise InputError(
            "the engine native cannot run this classifier",
            file=passport.path,
            expected="a random forest of vigra and ilastik's own features",
            found="; ".join(passport.native_refusals),
            mend="use --engine ilastik",
        )
    return NATIVE_VERSION


def bit_stable(name: EngineName) -> bool:
    """Whether an engine gives the same bits for every tile shape and machine.

    The program ilastik need not: in some of its builds the last bits of features depend on how it
    cuts a volume into blocks (docs/exactness.md).
    """
    return name == "native"


def load_engine(
    name: EngineName,
    passport: Passport,
    *,
    volume_shape: Index,
    threads: int = 1,
) -> Engine:
    """The engine for tiles of a volume of (z, y, x) ``volume_shape``.

    InputError if the engine lacks what the classifier needs, or if the classifier is no longer the
    one of the passport.
    """
    check_engine(name, passport)
    if name == "ilastik":
        from tbseg_ops.engines.ilastik.engine import IlastikEngine

        return IlastikEngine(passport, volume_shape=volume_shape, threads=threads)
    passport.check_volume(volume_shape, passport.channels)
    now, forests = read_classifier(passport.path)
    if now.digest != passport.digest:
        raise InputError(
            "the classifier changed since the plan was made",
            file=passport.path,
            expected=f"digest {passport.digest}",
            found=now.digest,
            mend="plan again with --update, or put the classifier back",
        )
    from tbseg_ops.engines.native.engine import NativeEngine

    return NativeEngine(passport, forests, volume_shape, threads)


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
