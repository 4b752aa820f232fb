"""Passports of real classifiers, and what is refused: one real project, changed part by part."""

import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tbseg_ops.classifier import Feature, Passport, read_passport
from tbseg_ops.classifier.gaussians import LAPLACIAN, SMOOTHING, STRUCTURE_TENSOR
from tbseg_ops.engines import load_engine
from tbseg_ops.errors import InputError
from tbseg_ops.hdf5 import texts
from tbseg_ops.volume import open_source
from tests.classifier.projects import (
    FORESTS,
    LEAF,
    REAL,
    changed,
    grown_tree,
    replace,
    trained_on,
    write_forests,
)
from tests.reference_sets import CLASSIFIERS, ReferenceSet

BIG = (100, 100, 100)
SELECTIONS = "FeatureSelections"
LABELS = "PixelClassification/LabelNames"
RAW_DATA = "Input Data/infos/lane0000/Raw Data"
TREE = f"{FORESTS}/Forest0000/Tree_00"

FACTS = {
    # name: labels, known labels, channels, columns, halo, minimum side, nodes
    "vessels-3d": (("background", "vessel"), (1, 2), 1, 23, (14, 14, 14), (14, 14, 14), 11679),
    "vessels-2d": (("background", "vessel"), (1, 2), 1, 19, (0, 14, 14), (1, 14, 14), 15463),
    "vessels-all-features": (
        ("background", "vessel"), (1, 2), 1, 61, (38, 38, 38), (36, 36, 36), 67520,
    ),
    "two-channel": (
        ("background", "vessel", "nucleus"), (1, 2, 3), 2, 28, (7, 7, 7), (7, 7, 7), 7523,
    ),
    "label-gap": (
        ("background", "wall", "unused", "lumen"), (1, 2, 4), 1, 9, (14, 14, 14), (14, 14, 14),
        11162,
    ),
    "nuclei": (
        ("background", "nucleus", "rim"), (1, 2, 3), 1, 25, (15, 15, 15), (14, 14, 14), 13500,
    ),
}  # fmt: skip


@pytest.mark.parametrize("reference", CLASSIFIERS, ids=str)
def test_facts_of_real_classifiers(reference):
    passport = read_passport(reference.classifier)
    found = (
        passport.labels,
        passport.known_labels,
        passport.channels,
        passport.columns,
        passport.halo_for(BIG),
        passport.minimum_side_for(BIG),
        passport.nodes,
    )
    assert found == FACTS[reference.name]
    assert (passport.forests, passport.trees, passport.percent_exact) == (2, 100, True)
    assert (passport.spatial_axes, passport.compute_in_2d_stored) == ("zyx", True)
    assert passport.colors[:2] == ((255, 225, 25), (0, 130, 200))
    assert passport.native_refusals == ()
    assert passport.ilastik_version.startswith("1.4")
    assert Passport.model_validate_json(passport.model_dump_json()) == passport
    passport.check_volume(reference.raw().shape[:3], passport.channels)


def test_features_are_in_column_order():
    features = read_passport(ReferenceSet("label-gap").classifier).features
    assert [(f.id, f.scale, f.in_2d) for f in features] == [
        ("GaussianSmoothing", 0.3, False),
        ("GaussianSmoothing", 1.0, False),
        ("LaplacianOfGaussian", 1.6, False),
        ("HessianOfGaussianEigenvalues", 1.6, False),
        ("HessianOfGaussianEigenvalues", 3.5, False),
    ]


def test_reading_a_passport_loads_no_compiler():
    code = (
        "import sys; from tbseg_ops.classifier import read_passport;"
        f"read_passport({str(REAL)!r});"
        "sys.exit('numba' in sys.modules or 'llvmlite' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Halo and smallest volume, against the measured table.


@cache
def real_passport() -> Passport:
    return read_passport(REAL)


def of_features(*features: Feature, stored: bool = True) -> Passport:
    return real_passport().model_copy(
        update={
            "features": features,
            "compute_in_2d_stored": stored,
            "channels": 1,
            "columns": sum(f.columns() for f in features),
        }
    )


@pytest.mark.parametrize(
    ("scale", "halo", "tensor_halo", "side"),
    [
        (0.3, 2, 2, 3), (0.7, 3, 4, 4), (1.0, 6, 7, 5), (1.6, 6, 7, 7), (3.5, 14, 15, 14),
        (5.0, 19, 20, 19), (10.0, 37, 38, 36),
    ],
)  # fmt: skip
def test_halo_and_minimum_side_of_each_scale(scale, halo, tensor_halo, side):
    for name, reach in ((SMOOTHING, halo), (LAPLACIAN, halo), (STRUCTURE_TENSOR, tensor_halo)):
        solid = of_features(Feature(id=name, scale=scale, in_2d=False))
        assert solid.halo_for(BIG) == (reach, reach, reach)
        assert solid.minimum_side_for(BIG) == (side, side, side)
        flat = of_features(Feature(id=name, scale=scale, in_2d=True))
        assert flat.halo_for(BIG) == (0, reach, reach)
        assert flat.minimum_side_for(BIG) == (1, side, side)
        assert solid.halo_for((1, 100, 100)) == (0, reach, reach)
        assert solid.minimum_side_for((1, 100, 100)) == (1, side, side)


def test_halo_of_mixed_scales_is_each_axis_own():
    passport = of_features(
        Feature(id=SMOOTHING, scale=1.6, in_2d=False), Feature(id=SMOOTHING, scale=5.0, in_2d=True)
    )
    assert passport.halo_for(BIG) == (6, 19, 19)
    assert passport.minimum_side_for(BIG) == (7, 19, 19)


def test_flags_of_old_files_follow_the_volume():
    passport = of_features(Feature(id=STRUCTURE_TENSOR, scale=1.0, in_2d=True), stored=False)
    assert [f.in_2d for f in passport.features_for(BIG)] == [False]
    assert [f.in_2d for f in passport.features_for((1, 50, 50))] == [True]
    assert passport.halo_for(BIG) == (7, 7, 7)


@pytest.mark.parametrize(
    ("shape", "channels", "word"),
    [
        ((37, 45, 53), 1, "channels"),
        ((37, 45, 53), 3, "channels"),
        ((6, 45, 53), 2, "too small"),
        ((37, 6, 53), 2, "too small"),
        ((37, 45, 6), 2, "too small"),
        ((1, 45, 53), 2, "columns"),
    ],
)
def test_volumes_that_do_not_fit(shape, channels, word):
    with pytest.raises(InputError, match=word) as refused:
        read_passport(REAL).check_volume(shape, channels)
    assert None not in (refused.value.expected, refused.value.found, refused.value.mend)


@pytest.mark.parametrize("axes", ["yx", "yxc", "tyx", "tyxc"])
def test_a_classifier_of_images_takes_a_stack_slice_by_slice(tmp_path, axes):
    path = trained_on(tmp_path, ReferenceSet("vessels-2d").classifier, axes)
    with h5py.File(path, "r+") as file:
        file[f"{SELECTIONS}/ComputeIn2d"][()] = False  # what a file says of z does not matter
    passport = read_passport(path)
    assert passport.spatial_axes == "yx"
    assert passport.halo_for(BIG) == (0, 14, 14)
    assert passport.minimum_side_for(BIG) == (1, 14, 14)
    for slices in (1, 2):
        passport.check_volume((slices, 50, 50), 1)
        assert bool(passport.notes_for((slices, 50, 50))) == (slices > 1)


# Files of other versions.


def make_old(file: h5py.File) -> None:
    """As ilastik wrote before 2014: no 2D flags, no type, no known labels, text of fixed length."""
    del file[f"{SELECTIONS}/ComputeIn2d"]
    del file[f"{FORESTS}/pickled_type"], file[f"{FORESTS}/known_labels"]
    replace(file, f"{SELECTIONS}/FeatureIds", file[f"{SELECTIONS}/FeatureIds"][()].astype("S28"))
    replace(file, LABELS, file[LABELS][()].astype("S"))
    file[LABELS].attrs["isEmpty"] = False
    replace(file, "workflowName", np.bytes_("Pixel Classification"))


def test_old_files(tmp_path):
    now, old = real_passport(), read_passport(changed(tmp_path, make_old))
    assert not old.compute_in_2d_stored
    same = {"path", "digest", "compute_in_2d_stored"}
    assert old.model_dump(exclude=same) == now.model_dump(exclude=same)


def test_training_volume_of_unknown_shape(tmp_path):
    """The forest's columns tell how many channels there were."""

    def edit(file):
        del file[f"{RAW_DATA}/shape"]

    assert read_passport(changed(tmp_path, edit)).channels == 2
    assert read_passport(changed(tmp_path, lambda file: file.pop("Input Data"))).channels == 2


def test_scales_in_any_order(tmp_path):
    order = [6, 2, 0, 3, 1, 5, 4]

    def edit(file):
        group = file[SELECTIONS]
        group["Scales"][()] = group["Scales"][()][order]
        group["SelectionMatrix"][()] = group["SelectionMatrix"][()][:, order]

    before, after = real_passport(), read_passport(changed(tmp_path, edit))
    assert sorted(map(str, before.features)) == sorted(map(str, after.features))
    assert [f.scale for f in after.features if f.id == SMOOTHING] == [1.6, 0.7]
    assert after.digest != before.digest


def test_label_names_are_utf8_and_may_repeat(tmp_path):
    names = ["Gefäß", "血管", "Gefäß"]
    path = changed(tmp_path, lambda file: replace(file, LABELS, [n.encode() for n in names]))
    assert read_passport(path).labels == tuple(names)


def test_probabilities_that_are_no_percents(tmp_path):
    random = np.random.default_rng(1)

    def forest(trees: int, pure: bool):
        return lambda file: write_forests(
            file, [[grown_tree(random, 28, 3, 3, pure) for _ in range(trees)]]
        )

    for trees, pure, exact in ((50, True, True), (50, False, False), (99, True, False)):
        passport = read_passport(changed(tmp_path, forest(trees, pure)))
        assert (passport.trees, passport.percent_exact) == (trees, exact)


# The digest: all that decides the result, and nothing else.

DECIDES: dict[str, Callable[[h5py.File], Any]] = {
    "threshold": lambda f: shift(f, f"{TREE}/parameters", 1, 0.5),
    "label name": lambda f: replace(f, LABELS, [b"background", b"vessel", b"other"]),
    "another label": lambda f: replace(f, LABELS, [b"background", b"vessel", b"nucleus", b"4"]),
    "2D flag": lambda f: f[f"{SELECTIONS}/ComputeIn2d"].__setitem__(6, True),
    "scale": lambda f: f[f"{SELECTIONS}/Scales"].__setitem__(3, 1.5),
    "tree order": lambda f: swap(f, f"{FORESTS}/Forest0000", "Tree_00", "Tree_01"),
}
DOES_NOT: dict[str, Callable[[h5py.File], Any]] = {
    "time": lambda f: replace(f, "time", b"yesterday"),
    "version": lambda f: replace(f, "ilastikVersion", b"1.4.0"),
    "bookmarks": lambda f: f.pop("PixelClassification/Bookmarks"),
    "brush strokes": lambda f: f.pop("PixelClassification/LabelSets"),
    "column names": lambda f: f.pop(f"{FORESTS}/feature_names"),
    "compression": lambda f: replace(f, f"{TREE}/topology", f[f"{TREE}/topology"][()]),
    "unused weight": lambda f: shift(f, f"{TREE}/parameters", 0, 1.0),
}


def shift(file: h5py.File, path: str, index: int, by: float) -> None:
    file[path][index] = file[path][index] + by


def swap(file: h5py.File, group: str, a: str, b: str) -> None:
    file.move(f"{group}/{a}", f"{group}/other")
    file.move(f"{group}/{b}", f"{group}/{a}")
    file.move(f"{group}/other", f"{group}/{b}")


@pytest.mark.parametrize("edit", DECIDES.values(), ids=DECIDES)
def test_digest_changes_with_what_decides_the_result(tmp_path, edit):
    assert read_passport(changed(tmp_path, edit)).digest != real_passport().digest


@pytest.mark.parametrize("edit", DOES_NOT.values(), ids=DOES_NOT)
def test_digest_stays_with_all_else(tmp_path, edit):
    assert read_passport(changed(tmp_path, edit)).digest == real_passport().digest


def test_a_classifier_that_changed_is_not_loaded(tmp_path):
    passport = read_passport(changed(tmp_path, lambda file: None))
    changed(tmp_path, DECIDES["threshold"])
    with pytest.raises(InputError, match="changed since"):
        load_engine("native", passport, volume_shape=BIG)


# What nobody can use. Each message names the place.

SKLEARN = b"clazyflow.classifiers.sklearnLazyflowClassifier\nSklearnLazyflowClassifier\np0\n."

REFUSED: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "no project": (
        lambda f: [f.pop(n) for n in ("workflowName", "ilastikVersion", "PixelClassification")],
        "changed places",
    ),
    "sklearn": (lambda f: replace(f, f"{FORESTS}/pickled_type", np.void(SKLEARN)), "Parallel"),
    "sklearn as text": (lambda f: replace(f, f"{FORESTS}/pickled_type", SKLEARN), "scikit-learn"),
    "untrained": (lambda f: f.pop(FORESTS), "no trained classifier"),
    "no features": (lambda f: f.pop(SELECTIONS), SELECTIONS),
    "no feature ids": (lambda f: f.pop(f"{SELECTIONS}/FeatureIds"), "FeatureIds"),
    "no scales": (lambda f: f.pop(f"{SELECTIONS}/Scales"), "Scales"),
    "no matrix": (lambda f: f.pop(f"{SELECTIONS}/SelectionMatrix"), "SelectionMatrix"),
    "no pixel classification": (lambda f: f.pop("PixelClassification"), "ClassifierForests"),
    "no labels": (lambda f: f.pop(LABELS), "LabelNames"),
    "placeholder labels": (lambda f: f[LABELS].attrs.__setitem__("isEmpty", True), "LabelNames"),
    "no forest": (
        lambda f: [f[FORESTS].pop(name) for name in ("Forest0000", "Forest0001")],
        "Forest0000",
    ),
    "no tree": (lambda f: f.pop(TREE), "number of trees"),
    "no topology": (lambda f: f.pop(f"{TREE}/topology"), "Tree_00/topology"),
    "no parameters": (lambda f: f.pop(f"{TREE}/parameters"), "Tree_00/parameters"),
    "no options": (lambda f: f.pop(f"{FORESTS}/Forest0000/_options"), "tree_count_"),
    "no column count": (
        lambda f: f.pop(f"{FORESTS}/Forest0001/_ext_param/column_count_"),
        "Forest0001/_ext_param/column_count_",
    ),
    "external features": (
        lambda f: replace(f, f"{SELECTIONS}/FeatureListFilename", b"features.txt"),
        "FeatureListFilename",
    ),
    "unknown feature": (
        lambda f: replace(f, f"{SELECTIONS}/FeatureIds", [b"Other%d" % i for i in range(6)]),
        "unknown features",
    ),
    "nothing selected": (
        lambda f: replace(f, f"{SELECTIONS}/SelectionMatrix", np.zeros((6, 7), bool)),
        "no feature is selected",
    ),
    "another selection": (
        lambda f: f[f"{SELECTIONS}/SelectionMatrix"].__setitem__((0, 4), True),
        "trained on other features",
    ),
    "matrix of another shape": (
        lambda f: replace(f, f"{SELECTIONS}/SelectionMatrix", np.ones((6, 6), bool)),
        "another shape",
    ),
    "matrix of another type": (
        lambda f: replace(f, f"{SELECTIONS}/SelectionMatrix", np.ones((6, 7), complex)),
        "another type",
    ),
    "negative scale": (lambda f: f[f"{SELECTIONS}/Scales"].__setitem__(3, -1.0), "Scales"),
    "infinite scale": (lambda f: f[f"{SELECTIONS}/Scales"].__setitem__(3, np.inf), "Scales"),
    "training channels": (
        lambda f: f[f"{RAW_DATA}/shape"].__setitem__(3, 3),
        "trained on other features",
    ),
    "axes": (lambda f: replace(f, f"{RAW_DATA}/axistags", b'{"axes": 3}'), "axes"),
    "deep axes": (lambda f: replace(f, f"{RAW_DATA}/axistags", b"[" * 9999), "axes"),
    "known label without a name": (
        lambda f: f[f"{FORESTS}/known_labels"].__setitem__(2, 4),
        "known_labels",
    ),
    "known labels unsorted": (
        lambda f: f[f"{FORESTS}/known_labels"].__setitem__(slice(2), [2, 1]),
        "known_labels",
    ),
    "known labels too few": (
        lambda f: replace(f, f"{FORESTS}/known_labels", np.array([1, 2], np.uint32)),
        "known_labels",
    ),
    "group for a dataset": (lambda f: (f.pop(LABELS), f.create_group(LABELS)), "LabelNames"),
    "dataset for a group": (lambda f: replace(f, f"{FORESTS}/Forest0000", 1), "Forest0000"),
    "null dataset": (lambda f: replace(f, LABELS, h5py.Empty("S4")), "LabelNames"),
    "300 labels": (lambda f: replace(f, LABELS, [b"x"] * 300), "LabelNames"),
}


@pytest.mark.parametrize(("edit", "word"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(tmp_path, edit, word):
    path = changed(tmp_path, edit)
    with pytest.raises(InputError) as refused:
        read_passport(path)
    assert word in str(refused.value)
    assert str(path) in str(refused.value)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("workflow", "mend"),
    [
        ("Object Classification (from binary image)", "the project from which this one takes"),
        ("Automatic Tracking Workflow (Conservation Tracking) from prediction image", "from which"),
        ("Carving", "by hand"),
        ("Edge Training With Multicut", "supervoxels"),
        ("Neural Network Classification (Local)", "neural networks"),
        ("AutocontextThreeStage", "two stages"),
        ("Cell Density Counting", "densities"),
        ("Something New", "train a project"),
    ],
)
def test_other_workflows_are_named_with_a_mend_that_helps(tmp_path, workflow, mend):
    path = changed(tmp_path, lambda file: replace(file, "workflowName", workflow.encode()))
    with pytest.raises(InputError) as refused:
        read_passport(path)
    assert refused.value.found == workflow
    assert mend in refused.value.mend
    assert "Pixel Classification" in refused.value.mend


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda f: f.pop("workflowName"), "does not name its workflow"),
        (lambda f: replace(f, "workflowName", PIXELS_AND_OBJECTS), "for pixels and objects"),
    ],
)
def test_projects_with_pixel_classes_are_read_with_a_note(tmp_path, edit, word):
    passport = read_passport(changed(tmp_path, edit))
    assert [note for note in passport.notes if word in note]
    same = {"path", "notes"}
    assert passport.model_dump(exclude=same) == real_passport().model_dump(exclude=same)
    assert real_passport().notes == ()


PIXELS_AND_OBJECTS = b"Object Classification (from pixel classification)"


def test_a_volume_in_the_place_of_the_classifier(tmp_path):
    (tmp_path / "slice.tif").write_bytes(b"II*\0" + bytes(100))
    volume = ReferenceSet("vessels-3d").volume
    for path in (tmp_path, tmp_path / "slice.tif", volume, f"{volume}:/data"):
        with pytest.raises(InputError, match="changed places"):
            read_passport(path)


def test_a_classifier_in_the_place_of_the_volume():
    with pytest.raises(InputError, match="changed places"):
        open_source(str(REAL))


# What only ilastik itself can use.

NOT_NATIVE: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "unknown type": (
        lambda f: replace(f, f"{FORESTS}/pickled_type", b"cmy.module\nNewClassifier\n."),
        "NewClassifier",
    ),
    "weighted votes": (
        lambda f: f[f"{FORESTS}/Forest0001/_options/predict_weighted_"].__setitem__(0, 1.0),
        "weighted",
    ),
    "other nodes": (lambda f: f[f"{TREE}/topology"].__setitem__(2, 1), "type 0x1"),
    "tiny scale": (lambda f: f[f"{SELECTIONS}/Scales"].__setitem__(2, 0.1), "scale 0.1"),
}


@pytest.mark.parametrize(("edit", "word"), NOT_NATIVE.values(), ids=NOT_NATIVE)
def test_left_to_ilastik(tmp_path, edit, word):
    passport = read_passport(changed(tmp_path, edit))
    assert [refusal for refusal in passport.native_refusals if word in refusal]
    assert passport.digest != real_passport().digest
    assert passport.labels == ("background", "vessel", "nucleus")
    assert (passport.channels, passport.columns) == (2, 28)
    with pytest.raises(InputError, match="native") as refused:
        load_engine("native", passport, volume_shape=BIG)
    assert "--engine ilastik" in str(refused.value)


# Hostile trees: nothing may loop or read beyond its array.


def inner(p: int, below: int, above: int, column: int = 0) -> list[int]:
    return [0, p, below, above, column]


HOSTILE_TREES: dict[str, tuple[list[int], list[float]]] = {
    "loop to the root": ([*inner(0, 2, 7), LEAF, 2], [1, 0.5, 1, 1, 0, 0]),
    "loop between nodes": (inner(0, 7, 12) + inner(0, 2, 12) + [LEAF, 2], [1, 0.5, 1, 1, 0, 0]),
    "node reached twice": ([*inner(0, 7, 7), LEAF, 2], [1, 0.5, 1, 1, 0, 0]),
    "child far outside": ([*inner(0, 7, 2**31 - 1), LEAF, 2], [1, 0.5, 1, 1, 0, 0]),
    "negative child": ([*inner(0, 7, -7), LEAF, 2], [1, 0.5, 1, 1, 0, 0]),
    "child in the head": ([*inner(0, 7, 0), LEAF, 2], [1, 0.5, 1, 1, 0, 0]),
    "node cut off": ([0, 0, 7, 7], [1, 0.5]),
    "leaf cut off": ([*inner(0, 7, 9), LEAF, 2, LEAF], [1, 0.5, 1, 1, 0, 0]),
    "no root": ([], [1, 0.5]),
    "column out of range": (inner(0, 7, 9, 28) + [LEAF, 2] * 2, [1, 0.5, 1, 1, 0, 0]),
    "negative column": (inner(0, 7, 9, -1) + [LEAF, 2] * 2, [1, 0.5, 1, 1, 0, 0]),
    "threshold outside": (inner(5, 7, 9) + [LEAF, 2] * 2, [1, 0.5, 1, 1, 0, 0]),
    "negative threshold index": (inner(-1, 7, 9) + [LEAF, 2] * 2, [1, 0.5, 1, 1, 0, 0]),
    "threshold that is NaN": (inner(0, 7, 9) + [LEAF, 2] * 2, [1, np.nan, 1, 1, 0, 0]),
    "infinite threshold": (inner(0, 7, 9) + [LEAF, 2] * 2, [1, np.inf, 1, 1, 0, 0]),
    "proportions outside": ([LEAF, 3], [1, 0.5, 1, 1, 0, 0]),
    "negative proportions index": ([LEAF, -2], [1, 0.5, 1, 1, 0, 0]),
    "negative proportion": ([LEAF, 0], [1, 2, -1, 0]),
    "proportions of another sum": ([LEAF, 0], [1, 0.5, 0.4, 0]),
    "proportions that are NaN": ([LEAF, 0], [1, np.nan, 0, 0]),
    "another number of columns": ([LEAF, 0], [27, 3]),
}


@pytest.mark.parametrize(("nodes", "parameters"), HOSTILE_TREES.values(), ids=HOSTILE_TREES)
def test_hostile_trees(tmp_path, nodes, parameters):
    head = [28, 3] if parameters != [27, 3] else parameters

    def edit(file):
        replace(file, f"{TREE}/topology", np.array(head + nodes, np.int32))
        replace(file, f"{TREE}/parameters", np.array(parameters, np.float64))

    with pytest.raises(InputError, match="tree") as refused:
        read_passport(changed(tmp_path, edit))
    assert "Forest0000" in str(refused.value)


def test_a_tree_like_a_chain_is_refused_in_bounded_time(tmp_path):
    length = 200_000
    at = np.arange(length)
    nodes = np.zeros((length, 5), np.int32)
    nodes[:, 2] = 2 + 5 * length + 2 * at  # a leaf of its own
    nodes[:, 3] = 2 + 5 * (at + 1)

    def edit(file):
        topology = np.concatenate([[28, 3], nodes.reshape(-1), np.tile([LEAF, 2], length + 1)])
        replace(file, f"{TREE}/topology", topology.astype(np.int32))
        replace(file, f"{TREE}/parameters", np.array([1, 0.5, 1, 1, 0, 0]))

    with pytest.raises(InputError, match="too deep"):
        read_passport(changed(tmp_path, edit))


# Hostile files: refused before anything is read from elsewhere or much is allocated.


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((7,), np.float64)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "data", (7,))
    del file[f"{SELECTIONS}/Scales"]
    file.create_virtual_dataset(f"{SELECTIONS}/Scales", layout)


def link(path: str, target: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[path]
        file[path] = target

    return edit


def huge(file: h5py.File) -> None:
    """32 GB of thresholds in a few bytes."""
    del file[f"{TREE}/parameters"]
    file.create_dataset(f"{TREE}/parameters", (2**32,), "f8", chunks=(2**16,), compression="gzip")


def bomb(file: h5py.File) -> None:
    """A chunk of 8 kB that inflates to 64 MB."""

    replace(file, f"{TREE}/parameters", np.zeros(1024), chunks=(1024,), compression="gzip")
    packed = zlib.compress(bytes(64 << 20), 9)[:7000]
    file[f"{TREE}/parameters"].id.write_direct_chunk((0,), packed)


HOSTILE_FILES: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "external link": (link(TREE, h5py.ExternalLink("x.h5", "/a")), "link"),
    "external link on the way": (link(FORESTS, h5py.ExternalLink("x.h5", "/a")), "external link"),
    "soft link": (link(f"{TREE}/topology", h5py.SoftLink("/time")), "soft link"),
    "link to itself": (link(SELECTIONS, h5py.SoftLink(f"/{SELECTIONS}")), "soft link"),
    "virtual dataset": (virtual, "other files"),
    "external storage": (
        lambda f: replace(f, f"{SELECTIONS}/Scales", np.ones(7), external=f"{f.filename}.raw"),
        "other files",
    ),
    "huge dataset": (huge, "declares more"),
    "chunk that inflates": (bomb, "inflates"),
    "huge chunks": (
        lambda f: replace(f, LABELS, [b"a", b"b", b"c"], chunks=(2**24,), maxshape=(None,)),
        "chunks",
    ),
    "unknown filter": (
        lambda f: replace(f, f"{TREE}/parameters", np.ones(9), compression="lzf"),
        "filters",
    ),
    "many forests": (
        lambda f: [f[FORESTS].create_group(f"Forest{i}") for i in range(20_001)],
        "too many objects",
    ),
    "long name": (lambda f: replace(f, LABELS, [b"a" * (2 << 20), b"b", b"c"]), "too long"),
    "references": (
        lambda f: replace(f, LABELS, np.array([f.ref] * 3, h5py.ref_dtype), dtype=h5py.ref_dtype),
        "type",
    ),
}


@pytest.mark.parametrize(("edit", "word"), HOSTILE_FILES.values(), ids=HOSTILE_FILES)
def test_hostile_files(tmp_path, edit, word):
    path = changed(tmp_path, edit)
    with pytest.raises(InputError) as refused:
        read_passport(path)
    assert word in str(refused.value)


@pytest.mark.parametrize("share", [0, 1e-5, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.99999])
def test_truncated_files(tmp_path, share):
    whole = ReferenceSet("nuclei").classifier.read_bytes()
    path = tmp_path / "short.ilp"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"short\.ilp"):
        read_passport(path)


def test_what_is_no_project_at_all(tmp_path):
    (tmp_path / "text.ilp").write_text("not HDF5")
    os.mkfifo(tmp_path / "pipe.ilp")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 1
    for name in ("absent.ilp", "text.ilp", "pipe.ilp", "other.h5", ""):
        with pytest.raises(InputError):
            read_passport(tmp_path / name)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_only_errors_of_the_project(tmp_path, seed):
    """Bytes are changed where HDF5 keeps its own structures: at random they would hit numbers."""
    random = np.random.default_rng(seed)
    path = changed(tmp_path, lambda file: file.pop("PixelClassification/LabelSets"))
    content = np.fromfile(path, np.uint8)
    marks = [b"TREE", b"HEAP", b"SNOD", b"GCOL", b"OHDR"]
    found = np.concatenate([places(content, mark) for mark in marks] + [np.arange(1)])
    for place in random.choice(found, 5):
        content[min(place + random.integers(64), len(content) - 1)] = random.integers(256)
    content.tofile(path)
    with suppress(InputError):
        read_passport(path)


def places(content: np.ndarray, mark: bytes) -> np.ndarray:
    text = content.tobytes()
    return np.array([i for i in range(len(text)) if text.startswith(mark, i)], np.int64)


def processes(monkeypatch) -> list[list[str]]:
    """The commands of all processes that are started from now on."""
    started: list[list[str]] = []

    class Recorded(subprocess.Popen):
        def __init__(self, command, **options):
            started.append(command)
            super().__init__(command, **options)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    return started


def test_texts_of_variable_length_are_read_by_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # nothing is known yet
    started = processes(monkeypatch)
    assert read_passport(REAL).labels == ("background", "vessel", "nucleus")
    assert len(started) == 1

    def fix(file):
        texts = []
        file.visititems(lambda path, item: texts.append(path) if is_text(item) else None)
        for path in texts:
            replace(file, path, np.array(file[path][()], np.bytes_))

    fixed = read_passport(changed(tmp_path, fix))
    assert len(started) == 1
    assert fixed.digest == read_passport(REAL).digest


def is_text(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype) is not None


def test_a_damaged_heap_of_texts_takes_nobody_along(tmp_path, monkeypatch):
    """Some of these bytes make HDF5 itself crash or loop for ever."""
    monkeypatch.setattr(texts, "_SECONDS", 2)
    content = REAL.read_bytes()
    heap = content.index(b"GCOL")
    refused = 0
    for at in (heap, heap + 9, heap + 15, heap + 16, heap + 24, heap + 31):
        path = tmp_path / "damaged.ilp"
        damaged = bytearray(content)
        damaged[at] ^= 0x80
        path.write_bytes(damaged)
        try:
            assert read_passport(path).digest == real_passport().digest
        except InputError:
            refused += 1
    assert refused >= 3


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_nothing_is_unpickled(tmp_path):
    mark = tmp_path / "unpickled"
    evil = pickle.dumps(Payload(mark), 0)
    pickle.loads(evil)
    assert mark.exists(), "the payload works"
    mark.unlink()

    def edit(file):
        replace(file, "PixelClassification/ClassifierFactory", evil)
        replace(file, "PixelClassification/Bookmarks/0000", np.void(evil))
        replace(file, f"{FORESTS}/pickled_type", evil)
        replace(file, f"{FORESTS}/pickled_classifier", np.void(evil))

    passport = read_passport(changed(tmp_path, edit))
    assert passport.native_refusals
    assert not mark.exists()
