"""A volume as a user writes it: taken apart, printed back to the letter, and where its runs go."""

import subprocess
import sys
from pathlib import Path

import pytest

from tbseg_ops.reference import Reference

# What is not there: written, kind, dataset, folder for runs, name.
ABSENT = {
    "/data/brain7": ("folder", None, "/data", "brain7"),
    "/data/brain7.tif": ("file", None, "/data", "brain7"),
    "/data/a.b.h5:/raw/x": ("file", "/raw/x", "/data", "a.b"),
    "/data/a.h5:/": ("file", "/", "/data", "a"),
    "/data/brain7/ch1_*.tif": ("pattern", None, "/data", "brain7"),
    "/data/part?/img_*.tif": ("pattern", None, "/data", "data"),
    "/data/part[ab]/raw/img.tif": ("pattern", None, "/data", "data"),
}


@pytest.mark.parametrize("text", ABSENT)
def test_what_is_not_there_goes_by_its_letters(text):
    found = Reference.of(text)
    assert (found.kind, found.dataset, str(found.folder), found.name) == ABSENT[text]
    assert str(found) == str(found.absolute()) == text


@pytest.mark.parametrize("name", ["star*", "a:", "data.h5", "[x]"])
def test_what_is_there_counts_more_than_its_letters(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    assert Reference.of(str(folder)).kind == "folder"
    (folder / "v.h5:").touch()
    assert Reference.of(f"{folder}/v.h5:").dataset is None
    found = Reference.of(f"{folder}/v.h5::/a/../b")
    assert (found.file, found.dataset, found.kind) == (f"{folder}/v.h5:", "/a/../b", "file")


def test_made_absolute_only_the_path_of_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("v.h5").touch()
    assert str(Reference.of("./v.h5://a/../b").absolute()) == f"{tmp_path}/v.h5://a/../b"
    assert str(Reference.of("x/../w.h5:/a/../b").absolute()) == f"{tmp_path}/w.h5:/a/../b"
    assert str(Reference.of("../s/img_*.tif").absolute()) == f"{tmp_path.parent}/s/img_*.tif"


def test_a_reference_loads_nothing_heavy():
    code = (
        "import sys, tbseg_ops.reference;"
        "sys.exit(bool({'numpy', 'h5py', 'tifffile'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
