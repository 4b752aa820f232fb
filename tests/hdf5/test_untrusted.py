"""HDF5 files of unknown origin: what is followed, and what is refused by name."""

import errno
import os

import h5py
import numpy as np
import pytest

from tbseg_ops.errors import InputError, ResourceError
from tbseg_ops.hdf5 import texts, untrusted
from tbseg_ops.hdf5.texts import text_attribute
from tbseg_ops.hdf5.untrusted import (
    dataset_paths,
    hdf5_errors,
    open_untrusted,
    untrusted_dataset,
)
from tests.refusals import refused

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture
def hostile(tmp_path):
    """A function that makes a file with ``fill`` and opens it."""
    opened = []

    def make(fill):
        with h5py.File(tmp_path / "v.h5", "w") as file:
            fill(file)
        opened.append(open_untrusted(tmp_path / "v.h5"))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def soft_links(file):
    file["a/b/values"] = VALUES
    file["a/link"] = h5py.SoftLink("b/values")
    file["far"] = h5py.SoftLink("/a/./link")
    file["group"] = h5py.SoftLink("a")


@pytest.mark.parametrize("path", ["a/b/values", "/a/link", "far", "/group/link", "group//b/values"])
def test_soft_links_inside_the_file_are_followed(path, hostile):
    found = untrusted_dataset(hostile(soft_links), path)
    assert found.name == "/a/b/values"
    assert np.array_equal(found[()], VALUES)


def hard_loop(file):
    group = file.create_group("group")
    group["again"] = group
    group["values"] = VALUES


def test_groups_that_hold_themselves(hostile):
    file = hostile(hard_loop)
    assert dataset_paths(file) == ["/group/values"]
    assert untrusted_dataset(file, "/group/again/again/values").shape == (2, 3, 4)
    with refused("too long"):
        untrusted_dataset(file, "group" + "/again" * 100 + "/values")


def linked_out(file):
    file["data"] = h5py.ExternalLink("/etc/passwd", "/")


def linked_out_on_the_way(file):
    file["group"] = h5py.ExternalLink("other.h5", "/")
    file["data"] = h5py.SoftLink("/group/data")


def linked_to_itself(file):
    file["data"] = h5py.SoftLink("/other")
    file["other"] = h5py.SoftLink("data")


def dangling(file):
    file["data"] = h5py.SoftLink("/nowhere")


def a_type(file):
    file["data"] = np.dtype(np.uint8)


def null(file):
    file["data"] = h5py.Empty(np.uint8)


def stored_outside(file):
    file.create_dataset("data", (8,), np.uint8, external=[("/etc/passwd", 0, 8)])


def a_plugin_filter(file):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((2, 3, 4))
    properties.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, (3,))  # of nobody
    space = h5py.h5s.create_simple((2, 3, 4))
    h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, properties)


def many_attributes(file):
    file["data"] = VALUES
    for i in range(1001):
        file["data"].attrs[f"a{i}"] = i


def many_attributes_on_the_way(file):
    file["group/data"] = VALUES
    file["data"] = h5py.SoftLink("group/data")
    for i in range(1001):
        file["group"].attrs[f"a{i}"] = i


REFUSED = {
    linked_out: "links to another file",
    linked_out_on_the_way: "links to another file",
    linked_to_itself: "circle",
    dangling: "no such dataset",
    a_type: "no such dataset",
    null: "empty",
    stored_outside: "external storage",
    a_plugin_filter: "filter",
    many_attributes: "too many attributes",
    many_attributes_on_the_way: "too many attributes",
}


@pytest.mark.parametrize("fill", REFUSED, ids=lambda fill: fill.__name__)
def test_refused(fill, hostile):
    with refused(REFUSED[fill], "v.h5:/data"):
        untrusted_dataset(hostile(fill), "/data")


def test_a_path_with_nul_is_not_cut_at_it(hostile):
    with pytest.raises(InputError):
        untrusted_dataset(hostile(soft_links), "/a/b/values\0x")


def test_a_missing_dataset_lists_those_that_are_there(hostile):
    with pytest.raises(InputError) as caught:
        untrusted_dataset(hostile(soft_links), "/b")
    assert caught.value.expected == "one of: /a/b/values"


def test_too_many_objects_are_not_listed(hostile, monkeypatch):
    monkeypatch.setattr(untrusted, "_MAX_OBJECTS", 5)

    def fill(file):
        for i in range(6):
            file[str(i)] = i

    with refused("too many objects"):
        dataset_paths(hostile(fill))


TEXTS = {
    "variable": ("\u00b5m\n", "\u00b5m\n"),
    "fixed": (np.bytes_(b"zyx"), "zyx"),
    "fixed, not UTF-8": (np.bytes_(b"\xb5m"), "\ufffdm"),
    "empty": ("", ""),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(case, hostile):
    written, expected = TEXTS[case]
    file = hostile(lambda file: file.attrs.update({"text": written}))
    assert text_attribute(file, "text") == expected
    assert text_attribute(file, "other") is None


NO_TEXTS = {"a number": 5, "numbers": [1, 2], "texts": ["a", "b"], "too long": "x" * 2**16}


@pytest.mark.parametrize("case", NO_TEXTS)
def test_attributes_that_are_no_text(case, hostile, monkeypatch):
    monkeypatch.setattr(texts, "MOST_BYTES", 2**16 - 1)
    file = hostile(lambda file: file.attrs.update({"text": NO_TEXTS[case]}))
    with refused("text"):
        text_attribute(file, "text")


def test_a_damaged_heap_of_texts_is_refused(tmp_path, monkeypatch):
    """Some of these flips make HDF5 crash or loop for ever, which must not happen to us."""
    monkeypatch.setattr(texts, "_SECONDS", 2)
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        file.attrs["text"] = "the text"
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    ended = []
    for at in (heap, heap + 4, heap + 9, heap + 15, heap + 16, heap + 24, heap + 27, heap + 31):
        content[at] ^= 0x80
        path.write_bytes(content)
        content[at] ^= 0x80
        with open_untrusted(path) as file:
            try:
                assert text_attribute(file, "text") == "the text"
            except InputError as error:
                ended.append(error.found)
    assert len(ended) >= 4


@pytest.mark.parametrize(
    ("name", "what"),
    [("missing", "cannot be opened"), ("folder", "regular"), ("empty", "empty"), ("text", "HDF5")],
)
def test_no_hdf5_file(name, what, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("some text")
    with refused(what):
        open_untrusted(tmp_path / name)


def test_a_failing_disk_is_not_the_file():
    with pytest.raises(ResourceError), hdf5_errors("v.h5", "read"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(ResourceError), hdf5_errors("v.h5", "read"):
        raise OSError("Can't synchronously read data (file read failed: errno = 5, ...)")
    with pytest.raises(InputError), hdf5_errors("v.h5", "read"):
        raise OSError("Can't synchronously read data (inflate() failed)")
    with pytest.raises(ResourceError), hdf5_errors("v.h5", "read"):
        raise MemoryError
