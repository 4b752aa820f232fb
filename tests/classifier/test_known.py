"""What was read of a classifier is kept: never taken for another one, and never needed."""

import os
import shutil
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest

from tbseg_ops.classifier import known, passport
from tbseg_ops.classifier.forests import Forest
from tbseg_ops.classifier.passport import read_classifier
from tbseg_ops.errors import ConfigError, InputError
from tests.reference_sets import CLASSIFIERS, REFERENCE

TWO_STAGES = REFERENCE / "two-stage" / "classifier.ilp"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tbseg"


@pytest.fixture
def project(tmp_path):
    return str(shutil.copy(TWO_STAGES, tmp_path / "own.ilp"))


@pytest.fixture
def read_anew(monkeypatch):
    """The paths that were read as an .ilp is."""
    paths, read = [], passport._read
    monkeypatch.setattr(passport, "_read", lambda path: paths.append(path) or read(path))
    return paths


def same(one, other):
    for mine, its in zip(one[1], other[1], strict=True):
        for name in (field.name for field in fields(Forest)):
            here, there = np.asarray(getattr(mine, name)), np.asarray(getattr(its, name))
            assert here.dtype == there.dtype
            np.testing.assert_array_equal(here, there)
    return one[0] == other[0]


@pytest.mark.parametrize(
    "path", [s.classifier for s in CLASSIFIERS] + [TWO_STAGES], ids=lambda path: path.parent.name
)
def test_the_second_reading_gives_the_same(path, read_anew):
    first = read_classifier(path)
    assert same(read_classifier(path), first)
    assert read_anew == [path]


def test_what_only_ilastik_can_use_is_known_too(project, read_anew):
    with h5py.File(project, "a") as file:
        for place in [name for name in file if name.startswith("PixelClassification")]:
            forest = file[f"{place}/ClassifierForests/Forest0000"]
            forest["_options/predict_weighted_"][0] = 1.0
    first, forests = read_classifier(project)
    assert first.native_refusals
    assert not forests
    assert read_classifier(project) == (first, forests)
    assert len(read_anew) == 1


def test_equal_bytes_elsewhere_are_known_by_their_own_path(project, read_anew):
    read_classifier(TWO_STAGES)
    found, _ = read_classifier(project)
    assert (found.path, found.first.path) == (project, project)
    assert len(read_anew) == 1


def test_one_changed_byte_is_another_classifier(project, read_anew):
    before, _ = read_classifier(project)
    with h5py.File(project, "a") as file:
        file["PixelClassification/LabelNames"][0] = b"other"
    after, _ = read_classifier(project)
    assert len(read_anew) == 2
    assert after.digest != before.digest


def test_a_file_that_changes_while_it_is_read_is_not_kept(project, cache, monkeypatch):
    read = passport._read

    def read_and_write(path):
        found = read(path)
        with open(path, "ab") as file:
            file.write(b"\0")
        return found

    monkeypatch.setattr(passport, "_read", read_and_write)
    read_classifier(project)
    assert not cache.exists()


@pytest.mark.parametrize("at", [0, 31, 32, 200, -1])
def test_a_flipped_bit_of_what_is_kept_is_seen(project, cache, read_anew, at):
    first = read_classifier(project)
    (kept,) = cache.iterdir()
    data = bytearray(kept.read_bytes())
    data[at] ^= 1
    kept.write_bytes(data)
    assert same(read_classifier(project), first)
    assert same(read_classifier(project), first)
    assert len(read_anew) == 2  # the third found what the second had kept


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(4096)], ids=len)
def test_a_cut_or_empty_file_is_read_again(project, cache, content):
    first = read_classifier(project)
    (kept,) = cache.iterdir()
    kept.write_bytes(content)
    assert same(read_classifier(project), first)


def test_nothing_is_needed_of_the_cache(project, cache, read_anew, monkeypatch):
    cache.parent.write_text("no folder")
    first = read_classifier(project)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert same(read_classifier(project), first)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("nobody")))
    assert same(read_classifier(project), first)
    assert len(read_anew) == 3
    assert not os.path.exists("relative")


def test_others_cannot_read_it_and_it_does_not_grow(project, cache, monkeypatch):
    monkeypatch.setattr(known, "_MOST_KEPT", 2)
    for word in (b"one", b"two", b"three"):
        with h5py.File(project, "a") as file:
            file["PixelClassification/LabelNames"][0] = word
        read_classifier(project)
    assert len(list(cache.iterdir())) == 2
    assert cache.stat().st_mode & 0o077 == 0


def test_a_known_classifier_outside_of_the_roots_is_refused(project, tmp_path, monkeypatch):
    read_classifier(project)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.ilp").symlink_to(project)
    monkeypatch.setenv("TBSEG_ROOTS", str(inside))
    for path in (project, inside / "link.ilp"):
        with pytest.raises(ConfigError, match="TBSEG_ROOTS"):
            read_classifier(path)


def test_one_that_went_away_or_became_a_pipe_is_refused(project):
    read_classifier(project)
    os.remove(project)
    with pytest.raises(InputError, match="no such"):
        read_classifier(project)
    os.mkfifo(project)
    with pytest.raises(InputError, match="not a regular file"):
        read_classifier(project)
