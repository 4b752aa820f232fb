"""The baseline, run by a Python that has vigra: what ilastik does, by vigra's filters and forest.

    vigra_side.py train FEATURES.npy LABELS.npy FOREST.h5
    vigra_side.py tile JOB.json
    vigra_side.py forest FEATURES.npy CLASSIFIER.ilp NUMBER_OF_FORESTS PROBABILITIES.npy

``tile`` and ``forest`` print JSON: seconds of processor time, one thread; ``tile`` also the peak
memory in bytes. FEATURES are (n, columns) float32. JOB names a volume (z, y, x), the core in it
(lo, hi), features (id, scale, in_2d), a classifier and how many forests it has (0: features alone).
numpy below 2, so this file uses nothing of the project.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import vigra

TREES = 100


def train(features: str, labels: str, forest: str) -> None:
    trained = vigra.learning.RandomForest(TREES)
    trained.learnRF(np.load(features), np.load(labels).astype(np.uint32)[:, None], 42)
    trained.writeHDF5(forest, "Forest0000")


def load(ilp: str, forests: str | int) -> list[Any]:
    group = "PixelClassification/ClassifierForests"
    return [vigra.learning.RandomForest(ilp, f"{group}/Forest{i:04}") for i in range(int(forests))]


def evaluate(forests: list[Any], rows: Any) -> Any:
    """What ilastik does with several forests: their mean, weighted by trees."""
    total = sum(forest.treeCount() for forest in forests)
    return sum(forest.predictProbabilities(rows) * forest.treeCount() for forest in forests) / total


def forest(matrix: str, ilp: str, number: str, probabilities: str) -> None:
    forests, rows = load(ilp, number), np.load(matrix)
    start = time.process_time()
    found = evaluate(forests, rows)
    print(json.dumps({"forest": time.process_time() - start}))
    np.save(probabilities, found)


def tile(path: str) -> None:
    job = json.loads(Path(path).read_text())
    forests = load(job["classifier"], job["forests"])
    volume = np.load(job["volume"])
    start = time.process_time()
    columns = compute(volume, job["lo"], job["hi"], job["features"])
    between = time.process_time()
    if forests:
        rows = np.concatenate(columns, axis=-1).reshape(-1, sum(c.shape[-1] for c in columns))
        evaluate(forests, rows)
    end = time.process_time()
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"features": between - start, "forest": end - between, "peak": peak}))


def compute(volume: Any, lo: list[int], hi: list[int], features: list[Any]) -> list[Any]:
    """The columns of a core, (z, y, x, values) each.

    As ilastik does, every feature reads only the halo that it needs, and the smoothing that a scale
    begins with is shared by the features of that scale.
    """
    columns = {}
    for scale, in_2d in sorted({(scale, in_2d) for _, scale, in_2d in features}):
        wanted = [name for name, s, flat in features if (s, flat) == (scale, in_2d)]
        before = np.sqrt(scale**2 - 1) if scale > 1 else scale
        t = min(scale, 1.0)
        around = int(3.5 * before + 0.5)
        near = int(2 * t + 0.5) + int(2 * 0.5 * t + 0.5)
        if in_2d:
            planes = range(lo[0], hi[0])
            cores = [part(volume[z], lo[1:], hi[1:], around, near, before, "yx") for z in planes]
            for name in wanted:
                values = [feature(name, smooth, t, roi) for smooth, roi in cores]
                columns[name, scale] = np.stack(values)
        else:
            smooth, roi = part(volume, lo, hi, around, near, before, "zyx")
            for name in wanted:
                columns[name, scale] = feature(name, smooth, t, roi)
    return [columns[name, scale] for name, scale, _ in features]


def part(
    volume: Any, lo: list[int], hi: list[int], around: int, near: int, before: float, axes: str
) -> tuple[Any, Any]:
    """The smoothed core with ``near`` voxels around it, and where the core lies in that."""
    n = volume.shape
    inner = [(max(0, a - near), min(m, b + near)) for a, b, m in zip(lo, hi, n)]  # noqa: B905
    outer = [(max(0, a - around), min(m, b + around)) for (a, b), m in zip(inner, n)]  # noqa: B905
    raw = volume[tuple(slice(a, b) for a, b in outer)].astype(np.float32)
    shift = [(a - o, b - o) for (a, b), (o, _) in zip(inner, outer)]  # noqa: B905
    smooth = vigra.filters.gaussianSmoothing(
        vigra.taggedView(raw, axes),
        before,
        window_size=3.5,
        roi=(tuple(a for a, _ in shift), tuple(b for _, b in shift)),
    )
    begin = tuple(a - i for a, (i, _) in zip(lo, inner))  # noqa: B905
    return smooth, (begin, tuple(b - i for b, (i, _) in zip(hi, inner)))  # noqa: B905


def feature(name: str, smooth: Any, t: float, roi: Any) -> Any:
    f, how = vigra.filters, {"window_size": 2.0, "roi": roi}
    if name == "GaussianSmoothing":
        found = f.gaussianSmoothing(smooth, t, **how)
    elif name == "LaplacianOfGaussian":
        found = f.laplacianOfGaussian(smooth, t, **how)
    elif name == "GaussianGradientMagnitude":
        found = f.gaussianGradientMagnitude(smooth, t, **how)
    elif name == "DifferenceOfGaussians":
        narrow = f.gaussianSmoothing(smooth, 0.66 * t, **how)
        found = f.gaussianSmoothing(smooth, t, **how) - narrow
    elif name == "StructureTensorEigenvalues":
        found = f.structureTensorEigenvalues(smooth, t, 0.5 * t, **how)
    else:
        found = f.hessianOfGaussianEigenvalues(smooth, t, **how)
    found = np.asarray(found)
    dimensions = len(roi[0])
    return found if found.ndim > dimensions else found[..., None]


if __name__ == "__main__":
    actions: dict[str, Callable[..., None]] = {"train": train, "tile": tile, "forest": forest}
    actions[sys.argv[1]](*sys.argv[2:])
