"""One command makes a damaged run right: ``tbseg repair``; ``tbseg verify --deep`` sees it all."""

import json
import shutil
import sys

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, IntegrityError, TbsegError
from tbseg_ops.run import RunFolder
from tests.faults.harm import exchange
from tests.faults.test_damage import chunk_of, flip, is_right, of_ten_slices
from tests.quick import some_slow
from tests.runs import copied, last_json, planned, spec_of, stack, tbseg, through

TILE, OTHER = "z001_y000_x001", "z000_y000_x001"
KINDS = ("slab", "tile", "classes", "merged")


@pytest.fixture
def run(finished, tmp_path):
    return copied(finished, tmp_path)


@pytest.fixture
def copies(finished, tmp_path):
    """A run whose sub-volumes hold the voxels."""
    run = copied(finished, tmp_path)
    steps.plan(spec=spec_of(tmp_path / "slices", split="copy"), run=run, update=True)
    through(run)
    return run


def file_of(run, kind, tile=TILE):
    folder = RunFolder(run)
    if kind == "slab":
        return folder.slab(folder.plan.slabs[0]).path
    if kind == "merged":
        return folder.segmentation_file
    step = {"tile": "split", "classes": "classify"}[kind]
    return run / folder.records(step).get(tile).file


def flip_a_voxel(path):
    with h5py.File(path) as file:
        name = "labels" if "labels" in file else "volume"
        dataset = file[name]
        contiguous = None if dataset.chunks else dataset.id.get_offset() + 100
    flip(path, contiguous or chunk_of(path, name))


def mended(run, finished):
    """Everything is right after one command, and the next one finds nothing."""
    found = steps.repair(run=run)
    assert found.damaged
    assert steps.repair(run=run).damaged == ()
    steps.verify(run=run, deep=True)
    assert is_right(run, finished)
    return found


def test_nothing_is_done_to_a_sound_run(run, finished):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.h5") if p.name != "volume.h5"}
    assert steps.repair(run=run).damaged == ()
    assert before == {p: p.stat().st_mtime_ns for p in before}
    steps.verify(run=run, deep=True)


def test_a_run_of_more_slabs_than_tiles(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tbseg_ops.steps.plan"], "slabs_of", of_ten_slices)
    run = tmp_path / "run"
    plan = planned(run, finished / "slices", tile=(64, 64, 64))
    assert len(plan.slabs) > len(plan.grid)
    through(run)
    steps.verify(run=run, deep=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_voxel(kind, copies, finished):
    path = file_of(copies, kind)
    flip_a_voxel(path)
    with pytest.raises(IntegrityError) as caught:
        steps.verify(run=copies, deep=True)
    assert f"tbseg repair {copies}" in caught.value.mend
    assert kind == "merged" or str(path) in str(caught.value)
    mended(copies, finished)
    assert kind == "merged" or list(path.parent.glob(f"{path.name}.set-aside-*"))


def test_a_sub_volume_with_other_voxels_is_not_computed_with(copies, finished):
    path, folder = file_of(copies, "tile"), RunFolder(copies)
    with h5py.File(path, "r+") as file:
        file["volume"][...] = 255 - file["volume"][...]
    file_of(copies, "classes").unlink()
    folder.records("classify").drop(TILE)
    through(copies)
    assert is_right(copies, finished)
    assert len(list(path.parent.glob(f"{path.name}.set-aside-*"))) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", some_slow(["cut off", "empty", "gone", "a text"], 1))
def test_a_file_that_is_none(how, kind, run, finished):
    path = file_of(run, kind)
    if how == "gone":
        path.unlink()
    elif how == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(b"" if how == "empty" else b"a text\n")
    if (how, kind) == ("gone", "tile"):  # a tile that is classified needs none
        steps.verify(run=run, deep=True)
        return
    with pytest.raises(IntegrityError):
        steps.verify(run=run)
    mended(run, finished)


@pytest.mark.parametrize("kind", some_slow(["tile", "classes"], 1))
def test_exchanged_tiles(kind, copies, finished):
    one, two = file_of(copies, kind), file_of(copies, kind, OTHER)
    spare = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(spare)
    with pytest.raises(IntegrityError):
        steps.verify(run=copies, deep=True)
    mended(copies, finished)


@pytest.mark.parametrize("kind", some_slow(["slab", "tile", "classes", "merged"], 1))
def test_a_file_of_another_run(kind, copies, finished, tmp_path):
    other = tmp_path / "other"
    planned(other, stack(tmp_path / "reversed", raw_of(copies)[::-1]), split="copy")
    through(other)
    shutil.copy(file_of(other, kind), file_of(copies, kind))
    with pytest.raises(IntegrityError):
        steps.verify(run=copies, deep=True)
    mended(copies, finished)


def raw_of(run):
    with h5py.File(run / "volume.h5") as file:
        return file["volume"][...]


def test_a_tile_that_refers_to_another_part_of_the_volume(run, finished):
    path, other = file_of(run, "tile"), file_of(run, "tile", OTHER)
    key = h5py.File(path).attrs["key"]
    size = path.stat().st_size
    shutil.copy(other, path)
    with h5py.File(path, "r+") as file:
        file.attrs.modify("key", key)
    with path.open("ab") as file:
        file.truncate(size)
    with pytest.raises(IntegrityError, match=TILE):
        steps.verify(run=run, deep=True)
    mended(run, finished)


LIES = ["split content", "classify counts", "classify chunks", "merge content"]
MORE = [
    *("classify content", "classify sha256", "classify predicted", "classify key", "verify key"),
    *("ingest content", "ingest key", "ingest size", "split key", "merge not_finite", "merge key"),
    "verify counts",
]


@pytest.mark.parametrize("what", some_slow([*LIES, *MORE], len(LIES)))
def test_a_record_that_lies(what, run, finished):
    step, field = what.split()
    path = next(
        p
        for p in (run / "records" / step).glob("*.json")
        if p.stem in (TILE, "volume") or step == "ingest"
    )
    values = json.loads(path.read_text())
    value = values[field]
    if isinstance(value, list):
        value = [value[0] + 1, value[1] - 1, *value[2:]]
    else:
        value = value + 1 if isinstance(value, int) else "f" + value[1:-1] + "0"
    path.write_text(json.dumps(values | {field: value}))
    steps.repair(run=run)
    assert json.loads(path.read_text())[field] == values[field]
    steps.verify(run=run, deep=True)
    assert is_right(run, finished)


@pytest.mark.parametrize("step", some_slow(["split", "ingest", "classify", "merge", "verify"], 1))
def test_a_record_that_cannot_be_read(step, run, finished):
    path = sorted((run / "records" / step).glob("*.json"))[-1]
    flip(path, 3)
    steps.repair(run=run)
    steps.verify(run=run, deep=True)
    assert is_right(run, finished)


@pytest.mark.parametrize("name", ["plan.json", "inputs.json", "spec.json"])
@pytest.mark.parametrize("how", some_slow(["flipped", "another run's", "gone"], 1))
def test_a_plan_is_written_again(how, name, run, finished, tmp_path):
    before = {n: (run / n).read_bytes() for n in ("plan.json", "inputs.json", "spec.json")}
    if how == "flipped":
        flip(run / name, (run / name).read_bytes().index(b'"', 40) + 1)
    elif how == "gone":
        (run / name).unlink()
    else:
        planned(tmp_path / "other", stack(tmp_path / "r", raw_of(run)[::-1]), output="intensity")
        shutil.copy(tmp_path / "other" / name, run / name)
    steps.repair(run=run)
    assert before == {n: (run / n).read_bytes() for n in before}
    steps.verify(run=run, deep=True)
    assert is_right(run, finished)


def test_two_exchanged_files_of_a_plan_are_put_back(run, finished):
    before = {n: (run / n).read_bytes() for n in ("plan.json", "inputs.json", "spec.json")}
    exchange(run / "plan.json", run / "inputs.json")
    steps.repair(run=run)
    assert before == {n: (run / n).read_bytes() for n in before}
    assert is_right(run, finished)


def test_too_little_is_left_of_a_plan(run, finished, tmp_path):
    for name in ("plan.json", "inputs.json"):
        (run / name).write_bytes(b"{")
    with pytest.raises(ConfigError, match="too little is left") as caught:
        steps.repair(run=run)
    assert caught.value.mend.startswith("tbseg plan --update")
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, update=True)
    assert through(run)["classify"].computed == 0
    assert is_right(run, finished)


def test_what_other_programs_read_is_looked_at_too(run, finished):
    expected = raw_of(run)
    flip(run / "volume.h5", (run / "volume.h5").read_bytes().index(b"OHDR") + 10)
    with pytest.raises(IntegrityError, match=r"volume\.h5"):
        steps.verify(run=run, deep=True)
    mended(run, finished)
    assert np.array_equal(raw_of(run), expected)


def test_the_names_of_slices_that_other_programs_read_are_looked_at_too(tmp_path):
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices"), ingest="refer")
    through(run)
    path, expected = file_of(run, "slab"), raw_of(run)
    at = path.read_bytes().index(b"img_1.tif") + 4
    flip(path, at)  # now the slice before it
    assert path.read_bytes().count(b"img_0.tif") == 2
    with pytest.raises(IntegrityError, match="slab_00000"):
        steps.verify(run=run, deep=True)
    assert steps.repair(run=run).damaged
    steps.verify(run=run, deep=True)
    assert np.array_equal(raw_of(run), expected)


def test_slices_that_are_others_now_are_for_a_person(run, tmp_path):
    data = (run / "plan.json").read_bytes()
    flip(run / "plan.json", data.index(b'"batch_size"') + 2)
    shutil.rmtree(tmp_path / "slices")
    stack(tmp_path / "slices", raw_of(run)[::-1])
    with pytest.raises(ConfigError, match="not the one that the run was made of") as caught:
        steps.repair(run=run)
    assert "tbseg plan --update" in caught.value.mend


def test_what_gc_removed_is_not_missed_and_not_invented(run):
    from tbseg_ops.run.removed import mark_pruned

    mark_pruned(RunFolder(run), ("volume", "tiles"))
    shutil.rmtree(run / "volume")
    shutil.rmtree(run / "tiles")
    assert steps.repair(run=run).damaged == ()
    flip_a_voxel(file_of(run, "classes"))
    with pytest.raises(ConfigError, match="has removed what it could be mended from"):
        steps.repair(run=run)


def test_of_a_run_that_goes_on_only_what_is_damaged_is_forgotten(finished, tmp_path):
    run = tmp_path / "run"
    planned(run, finished / "slices")
    through(run, until="ingest")
    steps.split(run=run)
    steps.classify(run=run, tiles=(TILE, OTHER))
    path = file_of(run, "classes")
    flip_a_voxel(path)
    found = steps.repair(run=run)
    assert found.result is None
    assert [line.split(":")[0] for line in found.damaged] == [f"classify {TILE}"]
    assert {p.stem for p in (run / "records/classify").glob("*.json")} == {OTHER}
    assert through(run)["classify"].reused == 1
    assert is_right(run, finished)


def test_a_folder_without_a_plan_is_refused(tmp_path):
    with pytest.raises(TbsegError, match="not the folder of a planned run"):
        steps.repair(run=tmp_path)


def test_the_command(run, finished):
    assert "nothing was damaged" in tbseg("repair", run, "--workers", 1).stdout
    flip_a_voxel(file_of(run, "classes"))
    done = tbseg("verify", "--run", run, "--deep", "--workers", 1)
    assert done.returncode == 74, done.stderr
    assert TILE in done.stderr
    assert f"tbseg repair {run}" in done.stderr
    done = last_json(tbseg("repair", run, "--workers", 2, "--json"))
    assert len(done["damaged"]) == 1
    assert is_right(run, finished)
