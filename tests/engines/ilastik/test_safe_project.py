"""The copy of a project that ilastik is given."""

import io
import shutil

import h5py
import numpy as np
import pytest

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines.ilastik import safe_project as strip
from tbseg_ops.engines.ilastik.safe_project import safe_project
from tbseg_ops.errors import InputError
from tests.classifier.projects import trained_on
from tests.quick import some_slow
from tests.reference_sets import CLASSIFIERS, ReferenceSet

PROJECT = ReferenceSet("vessels-3d").classifier
FORESTS = "PixelClassification/ClassifierForests"
LEFT_OUT = {"Prediction Export", "PixelClassification/Bookmarks"}


@pytest.mark.parametrize("reference", some_slow(CLASSIFIERS, 2), ids=str)
def test_equals_the_original_but_for_what_is_left_out(reference, tmp_path):
    copy = tmp_path / "copy.ilp"
    copy.write_bytes(safe_project(reference.classifier))
    with h5py.File(reference.classifier) as original, h5py.File(copy) as copied:
        before, after = contents(original), contents(copied)
        kept = {name for name in before if not any(name.startswith(prefix) for prefix in LEFT_OUT)}
        assert set(after) == kept
        assert all(after[name] == before[name] for name in kept)
    assert read_passport(copy).digest == read_passport(reference.classifier).digest


@pytest.mark.parametrize("name", [None, b"Object Classification (from pixel classification)"])
def test_the_copy_is_a_pixel_classification(name, tmp_path):
    project = tmp_path / "project.ilp"
    shutil.copyfile(PROJECT, project)
    with h5py.File(project, "r+") as file:
        del file["workflowName"]
        if name:
            file["workflowName"] = name
            file.create_group("ObjectClassification")
    with h5py.File(io.BytesIO(safe_project(project))) as copy:
        assert copy["workflowName"][()] == b"Pixel Classification"
        assert "ObjectClassification" not in copy


def test_a_series_of_unknown_length_stays_one(tmp_path):
    """ilastik drops an axis of length 1, and then misses it in the labels."""
    project = trained_on(tmp_path, ReferenceSet("vessels-2d").classifier, "tyxc")
    raw = "Input Data/infos/lane0000/Raw Data"
    with h5py.File(project, "r+") as file:
        del file[f"{raw}/shape"]
    with h5py.File(io.BytesIO(safe_project(project))) as copy:
        *series, channels = copy[f"{raw}/shape"][()].tolist()
    assert min(series) > 1
    assert channels == 1


def contents(file: h5py.File) -> dict[str, list[object]]:
    """Per object: its stored type, shape, bytes and attributes."""
    found = {}

    def visit(name, item):
        attributes = {
            key: (item.attrs.get_id(key).get_type(), np.asarray(value).tolist())
            for key, value in item.attrs.items()
        }
        if isinstance(item, h5py.Dataset):
            values = item.id.get_type(), item.shape, np.asarray(item[()]).tolist()
        else:
            values = None
        found[name] = [values, attributes]

    file.visititems(visit)
    return found


def _soft_link(file):
    file["Input Data/infos/lane0001"] = h5py.SoftLink("/Input Data/infos/lane0000")


def _external_link(file):
    file[f"{FORESTS}/Forest0009"] = h5py.ExternalLink("/etc/passwd", "/x")


def _external_link_in_the_middle(file):
    del file["FeatureSelections"]
    file["FeatureSelections"] = h5py.ExternalLink("other.ilp", "/FeatureSelections")


def _external_storage(file):
    del file["FeatureSelections/Scales"]
    file["FeatureSelections"].create_dataset(
        "Scales", (7,), "f8", external=[("/etc/passwd", 0, 56)]
    )


def _virtual(file):
    del file["FeatureSelections/Scales"]
    layout = h5py.VirtualLayout((7,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (7,))
    file["FeatureSelections"].create_virtual_dataset("Scales", layout)


def _loop(file):
    file["Input Data/infos/lane0000/again"] = file["Input Data/infos"]


def _deep(file):
    file.create_group("Input Data/infos/" + "/".join("abcdefghijklmnop"))


def _scikit_learn(file):
    file[f"{FORESTS}/pickled_classifier"] = b"csklearn.svm\nSVC\n."


def _opaque_classifier(file):
    file[f"{FORESTS}/more"] = np.void(b"\x80\x04.")


def _opaque(file):
    file["PixelClassification/LabelSets/labels000/more"] = np.void(b"\x80\x04.")


def _references(file):
    file["Input Data/infos/lane0000/more"] = file["FeatureSelections"].ref


def _named_type(file):
    file["Input Data/infos/lane0000/more"] = np.dtype("f8")


def _attributes(file):
    for index in range(100):
        file["Input Data"].attrs[f"a{index}"] = 1


def _large_attribute(file):
    file["Input Data"].attrs["a"] = np.zeros(1000)


def _opaque_attribute(file):
    file["Input Data"].attrs["a"] = np.void(b"\x80\x04.")


def _factories(file):
    del file["PixelClassification/ClassifierFactory"]
    file["PixelClassification/ClassifierFactory"] = ["a", "b"]


def _group_for_a_dataset(file):
    del file["Input Data"]
    file["Input Data"] = 1


def _texts(file):
    del file["FeatureSelections/FeatureIds"]
    file["FeatureSelections/FeatureIds"] = ["x"] * 5000


HOSTILE = {
    _soft_link: "a link elsewhere",
    _external_link: "a link elsewhere",
    _external_link_in_the_middle: "a link elsewhere",
    _external_storage: "data in another file",
    _virtual: "data in another file",
    _loop: "a loop",
    _deep: "too many levels",
    _scikit_learn: "ClassifierForests/pickled_classifier",
    _opaque_classifier: "ClassifierForests/more",
    _opaque: "numbers or text",
    _references: "numbers or text",
    _named_type: "a named type",
    _attributes: "at most 64 attributes",
    _large_attribute: "Input Data@a",
    _opaque_attribute: "Input Data@a",
    _factories: "one text",
    _group_for_a_dataset: "a dataset",
    _texts: "at most 4096 texts",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_hostile(change, tmp_path):
    project = tmp_path / "hostile.ilp"
    shutil.copyfile(PROJECT, project)
    with h5py.File(project, "r+") as file:
        change(file)
    with pytest.raises(InputError) as caught:
        safe_project(project)
    assert HOSTILE[change] in str(caught.value)


def test_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(strip, "_MAX_BYTES", 100_000)
    with pytest.raises(InputError, match="too large to be handed"):
        safe_project(PROJECT)


def test_too_many_objects(monkeypatch):
    monkeypatch.setattr(strip, "_MAX_OBJECTS", 100)
    with pytest.raises(InputError, match="at most 100 objects"):
        safe_project(PROJECT)


@pytest.mark.parametrize("cut", [0, 100, 5000, 100_000])
def test_truncated(cut, tmp_path):
    project = tmp_path / "cut.ilp"
    project.write_bytes(PROJECT.read_bytes()[:cut])
    with pytest.raises(InputError):
        safe_project(project)


def test_training_data_inside_the_project_goes_along(tmp_path):
    project = tmp_path / "inside.ilp"
    shutil.copyfile(PROJECT, project)
    with h5py.File(project, "r+") as file:
        data = file["Input Data/local_data"].create_dataset("id", data=np.arange(9, dtype="u1"))
        data.attrs["axistags"] = "{}"
    with h5py.File(io.BytesIO(safe_project(project))) as copy:
        assert copy["Input Data/local_data/id"].attrs["axistags"] == "{}"
        np.testing.assert_array_equal(copy["Input Data/local_data/id"][()], np.arange(9))
