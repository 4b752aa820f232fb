"""Project files (.ilp) for tests: real ones changed in one place, and forests as vigra writes them.

A tree is a pair (topology, parameters) in vigra's layout: see tbseg_ops/classifier/forests.py.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.reference_sets import ReferenceSet

FORESTS = "PixelClassification/ClassifierForests"
REAL = ReferenceSet("two-channel").classifier

Tree = tuple[list[int], list[float]]
LEAF = 0x40000000


def changed(
    folder: Path, edit: Callable[[h5py.File], Any], source: Path = REAL, name: str = "changed.ilp"
) -> Path:
    """A copy of ``source`` in ``folder`` after ``edit``."""
    path = folder / name
    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def trained_on(folder: Path, source: Path, axes: str) -> Path:
    """A copy of ``source``, with training data of these axes and one channel."""
    lengths = {"t": 5, "z": 37, "y": 45, "x": 53, "c": 1}

    def edit(file: h5py.File) -> None:
        raw = "Input Data/infos/lane0000/Raw Data"
        tags = [{"key": axis, "typeFlags": 2, "resolution": 0} for axis in axes]
        replace(file, f"{raw}/axistags", json.dumps({"axes": tags}))
        replace(file, f"{raw}/shape", [lengths[axis] for axis in axes])

    return changed(folder, edit, source, f"{axes}.ilp")


def replace(file: h5py.File, path: str, value: Any, **options: Any) -> None:
    """Put another dataset in the place of ``path``; its attributes are lost."""
    if path in file:
        del file[path]
    file.create_dataset(path, data=value, **options)


def write_forests(file: h5py.File, forests: Sequence[Sequence[Tree]]) -> None:
    """Put these forests in the place of the project's; known labels become 1..classes."""
    group = file[FORESTS]
    for name in [name for name in group if name.startswith("Forest")]:
        del group[name]
    columns, classes = forests[0][0][0][:2]
    replace(file, f"{FORESTS}/known_labels", np.arange(1, classes + 1, dtype=np.uint32))
    for i, trees in enumerate(forests):
        forest = group.create_group(f"Forest{i:04d}")
        for name, value in (
            ("_options/tree_count_", len(trees)),
            ("_options/predict_weighted_", 0),
            ("_ext_param/column_count_", columns),
            ("_ext_param/class_count_", classes),
        ):
            forest[name] = np.array([value], np.float64)
        width = len(str(len(trees) - 1))
        for t, (topology, parameters) in enumerate(trees):
            forest[f"Tree_{t:0{width}d}/topology"] = np.array(topology, np.int32)
            forest[f"Tree_{t:0{width}d}/parameters"] = np.array(parameters, np.float64)


def grown_tree(
    random: np.random.Generator,
    columns: int,
    classes: int,
    depth: int,
    pure: bool = True,
    thresholds: Sequence[float] = (),
) -> Tree:
    """A tree of random shape, as deep as ``depth``; thresholds are drawn from the given ones."""
    topology = [columns, classes]
    parameters: list[float] = []

    def leaf() -> int:
        at = len(topology)
        topology.extend((LEAF, len(parameters)))
        votes = np.zeros(classes)
        if pure:
            votes[random.integers(classes)] = 1
        else:
            votes[:] = random.integers(0, 4, classes) + 1e-3
        parameters.extend((float(random.integers(1, 99)), *(votes / votes.sum())))
        return at

    def node(left: int) -> int:
        if not left or random.random() < 0.15:
            return leaf()
        at = len(topology)
        threshold = random.choice(thresholds) if len(thresholds) else random.normal()
        column = int(random.integers(columns))
        topology.extend((0, len(parameters), 0, 0, column))
        parameters.extend((1.0, threshold))
        topology[at + 2] = node(left - 1)
        topology[at + 3] = node(left - 1)
        return at

    node(depth)
    return topology, parameters
