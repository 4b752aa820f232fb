"""Random forests grown here, for machines without vigra, stored as vigra stores them.

Trees as vigra's are by default: a bootstrap of the samples each, sqrt(columns) columns tried at
each node, the split of least Gini impurity, grown until the leaves are pure. The layout of the
arrays is described in tbseg_ops/classifier/forests.py.
"""

from math import ceil, sqrt
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

_LEAF = 0x40000000


def grow(
    features: NDArray[np.float32], labels: NDArray[np.int64], forest: Path, trees: int = 100
) -> None:
    """A forest for ``features`` (n, columns) and 1-based ``labels`` (n,), as Forest0000 of a file.

    The names and numbers are those that tbseg reads; vigra itself would want more of them.
    """
    classes = int(labels.max())
    random = np.random.default_rng(42)
    with h5py.File(forest, "w") as file:
        group = file.create_group("Forest0000")
        group["_options/tree_count_"] = np.array([trees])
        group["_ext_param/column_count_"] = np.array([features.shape[1]])
        group["_ext_param/class_count_"] = np.array([classes])
        for tree in range(trees):
            chosen = random.integers(0, len(labels), len(labels))
            topology, parameters = _tree(features[chosen], labels[chosen] - 1, classes, random)
            group[f"Tree_{tree}/topology"] = np.array(topology, np.int32)
            group[f"Tree_{tree}/parameters"] = np.array(parameters, np.float64)


def _tree(
    x: NDArray[np.float32], y: NDArray[np.int64], classes: int, random: np.random.Generator
) -> tuple[list[int], list[float]]:
    topology: list[int] = [x.shape[1], classes]
    parameters: list[float] = []
    waiting = [(np.arange(len(y)), -1)]  # samples, and the place that will refer to their node
    while waiting:
        samples, place = waiting.pop()
        if place >= 0:
            topology[place] = len(topology)
        split = _split(x[samples], y[samples], classes, random)
        if split is None:
            share = np.bincount(y[samples], minlength=classes) / len(samples)
            topology += [_LEAF, len(parameters)]
            parameters += [float(len(samples)), *share.tolist()]
            continue
        column, threshold = split
        start = len(topology)
        topology += [0, len(parameters), 0, 0, column]
        parameters += [0.0, threshold]
        less = x[samples, column] < threshold
        waiting += [(samples[less], start + 2), (samples[~less], start + 3)]
    return topology, parameters


def _split(
    x: NDArray[np.float32], y: NDArray[np.int64], classes: int, random: np.random.Generator
) -> tuple[int, float] | None:
    """The best (column, threshold) of those tried, None where no split is needed or possible."""
    if (y == y[0]).all():
        return None
    best: tuple[float, int, float] | None = None
    tried = ceil(sqrt(x.shape[1]))
    for number, column in enumerate(random.permutation(x.shape[1])):
        if number >= tried and best is not None:
            break
        order = np.argsort(x[:, column])
        values = x[order, column].astype(np.float64)
        cuts = np.flatnonzero(values[1:] > values[:-1])
        if not len(cuts):
            continue
        seen = np.cumsum(np.eye(classes)[y[order]], axis=0)
        left, right = seen[cuts], seen[-1] - seen[cuts]
        purity = (left**2).sum(1) / left.sum(1) + (right**2).sum(1) / right.sum(1)
        at = int(purity.argmax())
        if best is None or purity[at] > best[0]:
            middle = (values[cuts[at]] + values[cuts[at] + 1]) / 2
            best = float(purity[at]), int(column), float(middle)
    return None if best is None else best[1:]
