"""What is measured on: a noisy synthetic volume of vessels, a classifier, a tile of the volume."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.classifier.passport import Feature
from tbseg_ops.engines import Engine, load_engine
from tbseg_ops.geometry import Box, Index

IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)


def _all(scales: tuple[float, ...], in_2d: bool) -> tuple[Feature, ...]:
    return tuple(Feature(id=i, scale=s, in_2d=in_2d) for i in IDS for s in scales)


FEATURES = {
    "2D": _all((1.0, 3.5, 10.0), True),
    "small 3D": _all((1.0, 1.6), False),
    "thirty": _all((1.0, 3.5, 10.0), False),
    "large 3D": _all((0.7, 1.0, 1.6, 3.5, 5.0, 10.0), False),
}
"""Named selections: 24, 20, 30 and 60 columns; "thirty" is that of the targets."""


@dataclass(frozen=True)
class Difficulty:
    """A forest: number of classes, training voxels, and share of labels that are wrong."""

    classes: int
    samples: int
    noise: float


DIFFICULTIES = {
    "easy": Difficulty(2, 430, 0.0),
    "medium": Difficulty(3, 1500, 0.0),
    "hard": Difficulty(3, 3300, 0.30),
    "four": Difficulty(4, 1400, 0.0),
}


@dataclass(frozen=True)
class Case:
    """The ``core`` of the volume ``raw`` (z, y, x, c) by the classifier in a file."""

    name: str
    raw: NDArray[Any]
    core: Box
    classifier: Path

    @cached_property
    def passport(self) -> Passport:
        return read_passport(self.classifier)

    @property
    def shape(self) -> Index:
        z, y, x = self.raw.shape[:3]
        return z, y, x

    @property
    def tile(self) -> tuple[NDArray[Any], Box]:
        """The core with its halo, and the core in that: what an engine is given."""
        box = self.core.grown(self.passport.halo_for(self.shape), self.shape)
        return self.raw[box.slices], self.core.relative_to(box.lo)

    def engine(self, threads: int = 1) -> Engine:
        return load_engine("native", self.passport, volume_shape=self.shape, threads=threads)


def centre(side: int, within: Index) -> Box:
    """A cube in the middle of a volume, clipped to it."""
    lo = [max(0, (n - side) // 2) for n in within]
    hi = [min(n, low + side) for low, n in zip(lo, within, strict=True)]
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


@cache
def vessels(side: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A noisy volume (z, y, x) and the smooth field in it that decides the classes."""
    random = np.random.default_rng(7)
    spectrum = np.fft.rfftn(random.standard_normal((side,) * 3))
    z, y, x = np.meshgrid(
        np.fft.fftfreq(side), np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"
    )
    spectrum *= np.exp(-2 * (np.pi * 5) ** 2 * (z**2 + y**2 + x**2))
    field = np.fft.irfftn(spectrum, (side,) * 3)
    field = (field / field.std()).astype(np.float32)
    wall = np.exp(-(((field - 0.6) / 0.35) ** 2))
    noisy = 60 + 110 * wall + 25 * random.standard_normal((side,) * 3)
    return noisy.clip(0, 255).astype(np.uint8), field


def labels_of(field: NDArray[np.float32], how: Difficulty, seed: int) -> NDArray[np.int64]:
    """1-based classes along the field (n,), some of them wrong."""
    edges = {2: [0.25], 3: [0.25, 0.95], 4: [-0.6, 0.25, 0.95]}[how.classes]
    labels = np.digitize(field, edges) + 1
    random = np.random.default_rng(seed)
    wrong = random.random(len(labels)) < how.noise
    labels[wrong] = random.integers(1, how.classes + 1, int(wrong.sum()))
    return labels
