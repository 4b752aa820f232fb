"""How ``classifier.ilp`` was made: ``python -m tests.reference.two-stage.make PYTHON_WITH_VIGRA``.

Training data: the volume of two-channel, 60 voxels of each class that ilastik gave it, for each
stage others. Columns: by this project's features, which are ilastik's to the bit. Forests: by
vigra, 34 + 33 + 33 trees, written by vigra itself. All else: copied from the classifier of
two-channel, in the groups and with the names that ilastik gives to a project of two stages.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.passport import Feature
from tbseg_ops.engines.native.engine import _as_channels
from tbseg_ops.geometry import Box
from tests.engines.native.feature_stack import feature_stack
from tests.reference_sets import ReferenceSet

SOURCE = ReferenceSet("two-channel")
TREES = (34, 33, 33)
SCALES = (0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0)
IDS = (
    gaussians.SMOOTHING,
    gaussians.LAPLACIAN,
    gaussians.GRADIENT_MAGNITUDE,
    gaussians.DIFFERENCE,
    gaussians.STRUCTURE_TENSOR,
    gaussians.HESSIAN,
)
# Per stage: scales in 2D, chosen features, classes that were drawn.
STAGES: tuple[tuple[set[float], set[tuple[str, float]], list[int]], ...] = (
    (
        {0.3, 1.0},
        {
            (gaussians.SMOOTHING, 0.7),
            (gaussians.SMOOTHING, 1.0),
            (gaussians.LAPLACIAN, 1.6),
            (gaussians.STRUCTURE_TENSOR, 1.0),
            (gaussians.HESSIAN, 1.6),
        },
        [1, 2, 3],
    ),
    (
        {0.3, 3.5},
        {
            (gaussians.SMOOTHING, 0.3),
            (gaussians.SMOOTHING, 1.6),
            (gaussians.GRADIENT_MAGNITUDE, 1.0),
            (gaussians.DIFFERENCE, 1.6),
            (gaussians.STRUCTURE_TENSOR, 1.6),
            (gaussians.HESSIAN, 3.5),
        },
        [1, 3],
    ),
)
TRAIN = """
import sys, numpy as np, vigra
x, y = np.load(sys.argv[1]), np.load(sys.argv[2])
for i, trees in enumerate(map(int, sys.argv[4:])):
    forest = vigra.learning.RandomForest(trees)
    forest.learnRF(x, y, 42 + i)
    forest.writeHDF5(sys.argv[3], f"Forest{i:04d}")
"""


def main(python: str) -> None:
    raw, truth = SOURCE.raw(), SOURCE.labels()
    random = np.random.default_rng(7)
    target = Path(__file__).with_name("classifier.ilp")
    with h5py.File(SOURCE.classifier) as source, h5py.File(target, "w", libver="earliest") as file:
        for name in ("ilastikVersion", "time", "Input Data"):
            source.copy(name, file)
        file["workflowName"] = b"AutocontextTwoStage"
        image: Any = raw
        for number, (flat, chosen, known) in enumerate(STAGES):
            suffix = f"{number:02d}" if number else ""
            features = tuple(
                Feature(id=i, scale=s, in_2d=s in flat)
                for i in IDS
                for s in SCALES
                if (i, s) in chosen
            )
            selections = f"FeatureSelections{suffix}"
            source.copy("FeatureSelections", file, name=selections)
            file[selections]["ComputeIn2d"][()] = [s in flat for s in SCALES]
            file[selections]["SelectionMatrix"][()] = [
                [(i, s) in chosen for s in SCALES] for i in IDS
            ]
            group = file.create_group(f"PixelClassification{suffix}")
            for name, item in source["PixelClassification"].items():
                if name not in ("ClassifierForests", "Bookmarks"):
                    source.copy(item, group, name=name)
            columns = feature_stack(image, features, Box((0, 0, 0), raw.shape[:3]))
            places = np.concatenate(
                [random.choice(np.flatnonzero(truth == label), 60, False) for label in known]
            )
            labels = truth.reshape(-1)[places].astype(np.uint32)[:, None]
            rows = np.ascontiguousarray(columns.reshape(len(columns), -1)[:, places].T)
            forests = group.create_group("ClassifierForests")
            train(python, rows, labels, forests)
            forests["known_labels"] = np.array(known, np.uint32)
            names = [f"column {i}".encode() for i in range(len(columns))]
            forests.create_dataset("feature_names", data=names, dtype=h5py.string_dtype())
            source.copy("PixelClassification/ClassifierForests/pickled_type", forests)
            if number == 0:
                image = np.concatenate([raw, first_maps(file, raw)], axis=-1)


def train(python: str, rows: Any, labels: Any, into: h5py.Group) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "x.npy", rows)
        np.save(folder / "y.npy", labels)
        files = [str(folder / file) for file in ("x.npy", "y.npy", "forests.h5")]
        subprocess.run([python, "-c", TRAIN, *files, *map(str, TREES)], check=True)
        with h5py.File(folder / "forests.h5") as made:
            for forest in made:
                made.copy(forest, into)


def first_maps(file: h5py.File, raw: Any) -> Any:
    """The first stage's probabilities as the second sees them."""
    from tbseg_ops.classifier.passport import read_classifier
    from tbseg_ops.engines.native.engine import NativeEngine

    with tempfile.TemporaryDirectory() as name:
        alone = Path(name) / "first.ilp"
        with h5py.File(alone, "w") as first:
            for part in (
                "ilastikVersion",
                "Input Data",
                "FeatureSelections",
                "PixelClassification",
            ):
                file.copy(part, first)
            first["workflowName"] = b"Pixel Classification"
        passport, forests = read_classifier(alone)
    shape = raw.shape[:3]
    engine = NativeEngine(passport, forests, shape, threads=1)
    return _as_channels(engine.predict(raw, Box((0, 0, 0), shape)), raw.dtype)


if __name__ == "__main__":
    main(sys.argv[1])
