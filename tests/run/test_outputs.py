"""Names, images and digests of the files of a run."""

from urllib.parse import unquote

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbseg_ops.hdf5.image import content_of, content_of_arrays, image_of
from tbseg_ops.run.outputs import encoded

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=()), max_size=12)


def written(names):
    def fill(file):
        for name in names:
            file[f"classes/{name}"] = np.uint8(1)

    return image_of(fill)


def read_names(image, path):
    path.write_bytes(image)
    with h5py.File(path) as file:
        return set(file["classes"])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("cell", "vessel"), ("cell", "vessel")),
        (("a/b", "100%"), ("a%2Fb", "100%25")),
        ((".", ".."), ("%2E", "%2E%2E")),
        (("", "x"), ("%20", "x")),
        (("same", "same"), ("same", "same%232")),
        (("nul\0", "new\nline"), ("nul%00", "new%0Aline")),
        (("Gefäß", "血管"), ("Gefäß", "血管")),
        (("a\udce9",), ("a%E9",)),
        (("#1", "#1"), ("#1", "#1%232")),
    ],
)
def test_encoded_names(labels, names, tmp_path):
    assert encoded(labels) == names
    assert read_names(written(names), tmp_path / "n.h5") == set(names)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_any_labels_get_distinct_names_that_hdf5_holds(labels):
    names = encoded(tuple(labels))
    assert len(set(names)) == len(labels)
    assert len(written(names)) > 0
    for name, label in zip(names, labels, strict=True):
        if labels.count(label) == 1 and label:
            assert unquote(name) == label


def test_an_image_is_the_same_bytes_each_time():
    def fill(file):
        file.create_dataset("a", data=np.arange(1000), compression="gzip", chunks=(100,))
        file.attrs["key"] = "k"

    assert image_of(fill) == image_of(fill)


def test_content_is_that_of_the_arrays_and_not_of_the_compression(tmp_path):
    arrays = {"b/c": np.arange(60, dtype=np.uint16).reshape(3, 4, 5), "a": np.ones(3, np.float32)}
    contents = set()
    for compression in (None, "gzip"):
        with h5py.File(tmp_path / f"{compression}.h5", "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array, compression=compression)
            contents.add(content_of(file))
    assert contents == {content_of_arrays(arrays)}
    arrays["a"][0] = np.nan
    assert content_of_arrays(arrays) not in contents
