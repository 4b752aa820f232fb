"""What a run exports by itself: after it is verified, recognised, and anew where it has changed."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from tbseg_ops import steps
from tbseg_ops.datasets import Runs, choose
from tbseg_ops.datasets import gc as gc_of
from tbseg_ops.errors import IntegrityError, ResourceError
from tbseg_ops.export import omezarr, tiff
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.retention import add, linked
from tests.runs import copied, files_below, spec_of, stack, tbseg, through

BOTH = ("ome-zarr", "tiff")
FILES = {"raw.ome.zarr", "labels.tif"}


def asked(finished, folder, formats=BOTH):
    """A copy of the finished run that was asked for files, too."""
    run = copied(finished, folder)
    steps.plan(spec=spec_of(folder / "slices", publish=formats), run=run, update=True)
    return run


def test_the_report_waits_for_the_files_and_links_to_them(finished, tmp_path):
    run = asked(finished, tmp_path)
    assert dict(left(run)) == {"export": FILES}
    with pytest.raises(IntegrityError, match="tbseg export"):
        steps.publish(run=run)
    made = steps.export(run=run)
    assert (made.computed, made.reused) == (2, 0)
    assert {Path(file).name for file in made.files} == FILES
    assert steps.export(run=run).reused == 2
    assert not left(run)
    published = steps.publish(run=run)
    assert {Path(path).name for path in published.exported} == FILES
    page = (run / "report.html").read_text()
    assert all(f'<a href="export/{name}">' in page for name in FILES)
    crate = json.loads((run / "ro-crate-metadata.json").read_text())["@graph"]
    assert {"export/raw.ome.zarr/", "export/labels.tif"} <= {entity["@id"] for entity in crate}


def left(run):
    return [(step.step, set(step.missing)) for step in status(run=run).steps if step.missing]


def test_what_is_not_verified_is_not_exported(finished, tmp_path):
    run = asked(finished, tmp_path)
    RunFolder(run).records("verify").drop("volume")
    with pytest.raises(IntegrityError, match="tbseg verify"):
        steps.export(run=run)
    assert not (run / "export").exists()


def test_a_run_that_was_not_asked_exports_nothing(finished):
    made = steps.export(run=finished / "run")
    assert (made.computed, made.files) == (0, ())


def test_of_another_result_only_what_differs_is_written(tmp_path, monkeypatch):
    """A corrected slice: the same files as of a new export, some of them taken over."""
    monkeypatch.setattr(omezarr, "_CHUNK", (8, 8, 8))
    monkeypatch.setattr(omezarr, "_CHUNKS", (1, 1, 1))
    monkeypatch.setattr(omezarr, "_SMALL", 16)
    slices, run = stack(tmp_path / "slices"), tmp_path / "run"
    spec = spec_of(slices, publish=("ome-zarr", "tiff-slices"), box="0:37,0:24,0:24")
    steps.plan(spec=spec, run=run)
    through(run)
    (first, *_) = sorted(slices.iterdir())
    tifffile.imwrite(first, np.flip(tifffile.imread(first)))
    steps.plan(spec=spec, run=run)
    through(run, until="verify")
    told = []
    steps.export(run=run, progress=lambda piece, how, done, total: told.append((piece, how)))
    of_labels = [how for piece, how in told if "labels/" in piece]
    assert {"written", "taken over"} == set(of_labels)
    for to, name in (("ome-zarr", "raw.ome.zarr"), ("tiff-slices", "labels")):
        steps.export(run=run, to=to, out=tmp_path / "new")
        ours, anew = run / "export" / name, tmp_path / "new" / name
        assert files_below(ours) == files_below(anew)
        for file in files_below(ours):
            assert (ours / file).read_bytes() == (anew / file).read_bytes()


@pytest.mark.parametrize("to", ["ome-zarr", "tiff", "tiff-slices"])
def test_what_the_disk_gives_back_otherwise_is_not_finished(finished, tmp_path, monkeypatch, to):
    if to == "ome-zarr":
        real = omezarr._opened
        monkeypatch.setattr(
            omezarr, "_opened", lambda *a, write: real(*a, write=True) if not write else Deaf()
        )
    else:
        monkeypatch.setattr(tiff, "_write_inside", lambda *arguments: None)
        monkeypatch.setattr(tiff, "commit_over", lambda path, data: path.write_bytes(data[:-1]))
    with pytest.raises(ResourceError, match="read again"):
        steps.export(run=finished / "run", to=to, out=tmp_path, what=["labels"])
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


class Deaf:
    """An array that keeps nothing."""

    def __getitem__(self, _):
        return self

    def write(self, _):
        return self

    def result(self):
        return self


def test_one_command_does_it_and_the_next_one_finds_it_done(tmp_path):
    words = (stack(tmp_path / "s"), spec_of("/x").classifier, tmp_path / "run", "--tile=37,45,53")
    done = tbseg("run", *words, "--publish=tiff", "--workers=2", "--json")
    assert done.returncode == 0, done.stderr
    (path,) = json.loads(done.stdout.splitlines()[-1])["exported"]
    with h5py.File(tmp_path / "run" / "segmentation.h5") as file:
        assert np.array_equal(tifffile.memmap(path, mode="r"), file["labels"])
    again = tbseg("export", "--run", tmp_path / "run", "--json")
    assert json.loads(again.stdout.splitlines()[-1])["reused"] == 1
    refused = tbseg("run", *words, "--publish=png", "--update")
    assert refused.returncode == 78
    assert "--publish" in refused.stderr
    assert "'ome-zarr'" in refused.stderr


def test_a_dataset_goes_on_with_a_run_that_lacks_its_files(finished, tmp_path, monkeypatch):
    """gc takes the files of old runs away with their result, and nothing that is not tbseg's."""
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    add(tmp_path, finished / "slices", keep_runs=1)
    runs = Runs(tmp_path / "runs", "brain")
    runs.path.mkdir()
    first = asked(finished, tmp_path / "made").rename(tmp_path / "runs" / "0001")
    assert Path(choose(runs).run).name == "0001"
    steps.export(run=first)
    assert Path(choose(runs).run).name == "0002"
    (first / "export" / "mine.txt").write_text("mine")
    linked(first, tmp_path / "runs" / "0002")
    (freed,) = [row for row in gc_of(name="brain", remove=True) if row.run == str(first)]
    assert freed.what[0] == "export"
    assert files_below(first / "export") == {"mine.txt"}
    assert [path.name for path in (first / "export").iterdir()] == ["mine.txt"]
    assert set(status(run=tmp_path / "runs" / "0002").exported) == {
        str(tmp_path / "runs" / "0002" / "export" / name) for name in FILES
    }
