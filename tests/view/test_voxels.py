"""Voxels for viewers: those of the files, thinned out, whatever is there of them."""

import zlib
from importlib import import_module

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.geometry import Box
from tbseg_ops.run import RunFolder
from tbseg_ops.run.plan import Slab
from tbseg_ops.view.tiles import RunView
from tbseg_ops.view.voxels import Classes, level_shape, raw_box, thinned
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS, copied, planned, spec_of, stack, through


def picked(array, level):
    shape = level_shape(array.shape[:3], level)
    return array[
        np.ix_(*(thinned(0, n, level, m) for n, m in zip(shape, array.shape, strict=False)))
    ]


@pytest.mark.parametrize("level", range(6))
def test_each_level_is_what_the_merged_file_has_there(finished, level):
    view = RunView(RunFolder(finished / "run"))
    with h5py.File(finished / "run" / "segmentation.h5") as file:
        labels = file["labels"][()]
    box = Box((0, 0, 0), level_shape(labels.shape, level))
    assert np.array_equal(Classes(view, "labels").box(box, level), picked(labels, level))
    raw = VESSELS.raw()
    assert np.array_equal(raw_box(view.folder, box, level), picked(raw, level))


def test_a_chunk_is_sent_as_it_lies_in_the_file(finished):
    view = RunView(RunFolder(finished / "run"))
    plan, classes = view.folder.plan, Classes(view, "labels")
    with h5py.File(finished / "run" / "segmentation.h5") as file:
        data = file["labels"]
        for block in Box((0, 0, 0), plan.shape).blocks(plan.grid_model.chunk):
            at = tuple(a // c for a, c in zip(block.lo, plan.grid_model.chunk, strict=True))
            assert classes.chunk(at) == data.id.read_direct_chunk(block.lo)[1]
    assert classes.chunk((0, 0, 99)) is None


def test_what_is_shuffled_is_sent_without(tmp_path):
    planned(tmp_path / "run", stack(tmp_path / "slices"), probabilities="all")
    through(tmp_path / "run", until="classify")
    view = RunView(RunFolder(tmp_path / "run"))
    (label, *_) = view.folder.plan.classifier.labels
    plan = view.folder.plan
    data = zlib.decompress(Classes(view, f"probabilities/{label}").chunk((0, 0, 0)))
    chunk = np.frombuffer(data, np.float32).reshape(plan.grid_model.chunk)
    tile = view.one("z000_y000_x000")
    with h5py.File(tmp_path / "run" / tile["record"]["file"]) as file:
        part = file[f"probabilities/{label}"][tuple(slice(0, n) for n in chunk.shape)]
    assert np.array_equal(chunk[tuple(slice(0, n) for n in part.shape)], part)


def test_a_tile_is_seen_when_it_is_there_and_the_others_are_nothing(tmp_path):
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices"))
    view = RunView(RunFolder(run))
    whole = Box((0, 0, 0), view.folder.plan.shape)
    classes = Classes(view, "labels")
    assert not raw_box(view.folder, whole).any()
    assert classes.box(whole) is None
    assert classes.chunk((0, 0, 0)) is None
    through(run, until="split")
    assert np.array_equal(raw_box(view.folder, whole), VESSELS.raw())
    steps.classify(run=run, tiles=("z001_y001_x000",))
    core = view.folder.plan.grid.by_name("z001_y001_x000").core
    for level in (0, 3):
        seen = classes.box(Box((0, 0, 0), level_shape(whole.shape, level)), level)
        inside = np.zeros(whole.shape, bool)
        inside[core.slices] = True
        assert np.array_equal(seen != 0, picked(inside, level))


def test_of_class_files_that_were_removed_the_merged_file_is_shown(finished, tmp_path):
    run = copied(finished, tmp_path)
    view = RunView(RunFolder(run))
    box = Box((3, 5, 7), (30, 40, 50))
    before = [Classes(view, "labels").box(box), Classes(view, "labels").chunk((1, 1, 1))]
    for file in (run / "classes").iterdir():
        file.unlink()
    after = [Classes(view, "labels").box(box), Classes(view, "labels").chunk((1, 1, 1))]
    assert np.array_equal(before[0], after[0])
    assert before[1] == after[1]


def test_a_part_and_several_channels(tmp_path):
    two = ReferenceSet("two-channel")
    raw = two.raw()
    file = tmp_path / "two.h5"
    with h5py.File(file, "w") as made:
        made["data"] = raw
        made["data"].attrs["axistags"] = (
            '{"axes": [{"key": "z"}, {"key": "y"}, {"key": "x"}, {"key": "c"}]}'
        )
    z, y, x, _ = raw.shape
    spec = spec_of(f"{file}:/data", classifier=str(two.classifier), box=f"2:{z},0:{y},8:{x}")
    steps.plan(spec=spec, run=tmp_path / "run")
    through(tmp_path / "run", until="ingest")
    folder = RunFolder(tmp_path / "run")
    read = folder.plan.read
    for level in (0, 1):
        box = Box((0, 0, 0), level_shape(read.shape, level))
        assert np.array_equal(raw_box(folder, box, level), picked(raw[read.slices], level))


def test_slabs_that_end_inside_of_a_chunk(tmp_path, monkeypatch):
    raw = VESSELS.raw()[..., 0]
    several = [Slab(name=f"slab_{i:05d}", z0=z, z1=min(z + 35, 37)) for i, z in enumerate((0, 35))]
    planning = import_module("tbseg_ops.steps.plan")  # the package has the step under that name
    monkeypatch.setattr(planning, "slabs_of", lambda *of: tuple(several))
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    through(tmp_path / "run", until="ingest")
    folder = RunFolder(tmp_path / "run")
    box = Box((4, 3, 2), (37, 45, 53))
    assert np.array_equal(raw_box(folder, box)[..., 0], raw[box.slices])
