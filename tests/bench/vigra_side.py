"""The baseline, run by a Python that has vigra: what ilastik does, by vigra's filters and forest.

    vigra_side.py train FEATURES.npy LABELS.npy FOREST.h5
    vigra_side.py features VOLUME.npy
    vigra_side.py forest FEATURES.npy FOREST.h5

The last two print seconds of processor time. Features are (n, columns) float32; the volume is
(z, y, x). One thread. numpy below 2, so this file uses nothing of the project.
"""

import sys
import time

import numpy as np
import vigra

SCALES = (1.0, 3.5, 10.0)
TREES = 100


def train(features, labels, forest):
    trained = vigra.learning.RandomForest(TREES)
    trained.learnRF(np.load(features), np.load(labels).astype(np.uint32)[:, None], 0)
    trained.writeHDF5(forest, "Forest0000")


def features(volume):
    raw = vigra.taggedView(np.load(volume).astype(np.float32), "zyx")
    f = vigra.filters
    start = time.process_time()
    for scale in SCALES:
        before = np.sqrt(scale**2 - 1) if scale > 1 else scale
        t = min(scale, 1.0)
        smooth = f.gaussianSmoothing(raw, before, window_size=3.5)
        f.gaussianSmoothing(smooth, t, window_size=2.0)
        f.laplacianOfGaussian(smooth, t, window_size=2.0)
        f.gaussianGradientMagnitude(smooth, t, window_size=2.0)
        f.gaussianSmoothing(smooth, t, window_size=2.0) - f.gaussianSmoothing(
            smooth, 0.66 * t, window_size=2.0
        )
        f.structureTensorEigenvalues(smooth, t, 0.5 * t, window_size=2.0)
        f.hessianOfGaussianEigenvalues(smooth, t, window_size=2.0)
    print(time.process_time() - start)


def forest(matrix, trained):
    loaded = vigra.learning.RandomForest(trained, "Forest0000")
    rows = np.load(matrix)
    start = time.process_time()
    loaded.predictProbabilities(rows)
    print(time.process_time() - start)


if __name__ == "__main__":
    {"train": train, "features": features, "forest": forest}[sys.argv[1]](*sys.argv[2:])
