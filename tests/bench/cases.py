"""What is measured on: noisy synthetic vessels, and classifiers trained on them by vigra."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.features import feature_stack
from tbseg_ops.classifier.passport import Feature, read_passport
from tbseg_ops.geometry import Box
from tests.bench.baseline import vigra
from tests.reference_sets import ReferenceSet

SCALES = (1.0, 3.5, 10.0)  # as in vigra_side.py, which another Python runs
IDS = (
    "GaussianSmoothing",
    "LaplacianOfGaussian",
    "GaussianGradientMagnitude",
    "DifferenceOfGaussians",
    "StructureTensorEigenvalues",
    "HessianOfGaussianEigenvalues",
)
FEATURES = tuple(Feature(id=i, scale=s, in_2d=False) for i in IDS for s in SCALES)
"""Thirty columns: all six features at three scales in 3D."""


@dataclass(frozen=True)
class Difficulty:
    """A forest: number of classes, training voxels, and share of labels that are wrong."""

    classes: int
    samples: int
    noise: float


FORESTS = {
    "easy": Difficulty(2, 600, 0.0),
    "medium": Difficulty(3, 1400, 0.0),
    "hard": Difficulty(3, 3300, 0.30),
    "four": Difficulty(4, 1400, 0.0),
}


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


def labels_of(field: NDArray[np.float32], classes: int) -> NDArray[np.int64]:
    """1-based classes along the field."""
    edges = {2: [0.25], 3: [0.25, 0.95], 4: [-0.6, 0.25, 0.95]}[classes]
    return np.digitize(field, edges) + 1


def columns_of(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """All thirty columns, (columns, z, y, x)."""
    shape = (raw.shape[0], raw.shape[1], raw.shape[2])
    return feature_stack(raw[..., None], FEATURES, Box((0, 0, 0), shape))


def trained(
    name: str, columns: NDArray[np.float32], field: NDArray[np.float32], folder: Path
) -> Path:
    """An .ilp with the thirty columns and a forest that vigra trained on part of the volume."""
    how = FORESTS[name]
    random = np.random.default_rng(11)
    chosen = random.choice(field.size, how.samples, replace=False)
    labels = labels_of(field, how.classes).reshape(-1)[chosen]
    wrong = random.random(how.samples) < how.noise
    labels[wrong] = random.integers(1, how.classes + 1, int(wrong.sum()))
    np.save(folder / "x.npy", columns.reshape(len(columns), -1)[:, chosen].T.copy())
    np.save(folder / "y.npy", labels)
    forest, ilp = folder / f"{name}.h5", folder / f"{name}.ilp"
    vigra("train", folder / "x.npy", folder / "y.npy", forest)
    shutil.copyfile(ReferenceSet("vessels-3d").classifier, ilp)
    with h5py.File(ilp, "r+") as file, h5py.File(forest) as source:
        selections, training = file["FeatureSelections"], file["PixelClassification"]
        for key, value in {
            "Scales": np.array(SCALES),
            "SelectionMatrix": np.ones((len(IDS), len(SCALES)), bool),
            "ComputeIn2d": np.zeros(len(SCALES), bool),
            "FeatureIds": np.array([i.encode() for i in IDS]),
        }.items():
            del selections[key]
            selections[key] = value
        del training["LabelNames"], training["ClassifierForests"]
        training["LabelNames"] = np.array([f"class {k + 1}".encode() for k in range(how.classes)])
        source.copy("Forest0000", training.create_group("ClassifierForests"))
        training["ClassifierForests/known_labels"] = np.arange(1, how.classes + 1, dtype=np.uint32)
    read_passport(ilp)
    return ilp
