"""Files of a run that were damaged or exchanged: noticed where they are used, and mended."""

import json
import shutil
import subprocess
import sys

import h5py
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.hdf5 import arms_length
from tbseg_ops.run import RunFolder
from tbseg_ops.run.plan import Plan, Slab
from tbseg_ops.run.status import status
from tests.faults.test_records import alter
from tests.hdf5.test_arms_length import endless
from tests.runs import (
    VESSELS,
    command,
    copied,
    datasets,
    planned,
    same,
    spec_of,
    stack,
    temporary_files,
    through,
)

TILE = "z001_y000_x001"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(arms_length, "_SECONDS", 1.0)
    return copied(finished, tmp_path)


def is_right(run, finished):
    return status(run=run).verified and same(
        datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5")
    )


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def chunk_of(path, name):
    """Where the largest chunk of a dataset lies in a file; a byte in the middle of it."""
    with h5py.File(path) as file:
        found = file[name].id
        chunks = [found.get_chunk_info(i) for i in range(found.get_num_chunks())]
    chunk = max(chunks, key=lambda c: c.size)
    return chunk.byte_offset + chunk.size // 2


def test_d2_a_class_file_on_which_hdf5_hangs_is_set_aside_and_made_anew(run, finished):
    path = run / RunFolder(run).records("classify").get(TILE).file
    endless(path)
    results = through(run)
    assert results["classify"].computed == 1
    assert list(run.glob(f"classes/{TILE}*set-aside*"))
    assert is_right(run, finished)


def test_a_slab_on_which_hdf5_hangs_is_made_anew(run, finished):
    """Without sub-volumes, so that it is read."""
    endless(next(run.glob("volume/*.h5")))
    for folder in ("tiles", "classes", "records/split", "records/classify"):
        shutil.rmtree(run / folder)
    with pytest.raises(IntegrityError, match=r"slab_00000(.|\n)*does not get over it"):
        through(run, until="classify")
    through(run)
    assert is_right(run, finished)


def test_a_sub_volume_on_which_hdf5_hangs_is_made_anew(run, finished):
    endless(next(run.glob(f"tiles/{TILE}*")))
    shutil.rmtree(run / "classes")
    through(run)
    assert is_right(run, finished)


@pytest.mark.parametrize("where", ["root", "heap"])
def test_d6_d7_a_merged_file_that_cannot_be_opened_is_written_anew(where, run, finished):
    path = run / "segmentation.h5"
    if where == "heap":
        endless(path)
    else:
        flip(path, path.read_bytes().index(b"OHDR") + 10)
    for step in (steps.verify, steps.publish):
        with pytest.raises(IntegrityError, match="not what was written") as caught:
            step(run=run)
        assert f"tbseg merge --run {run}" in caught.value.mend
        assert not status(run=run).verified
    assert through(run)["merge"].computed == 1
    assert is_right(run, finished)


def test_merge_itself_notices_a_merged_file_that_cannot_be_opened(run, finished):
    endless(run / "segmentation.h5")
    assert through(run)["merge"].computed == 1
    assert is_right(run, finished)


def of_ten_slices(info, itemsize, first, end):
    return tuple(
        Slab(name=f"slab_{i:05d}", z0=z0, z1=min(z0 + 10, end))
        for i, z0 in enumerate(range(first, end, 10))
    )


@pytest.mark.parametrize("mode", ["copy", "virtual"])
@pytest.mark.parametrize("of", ["another place", "another volume"])
def test_d8_a_slab_of_something_else_is_not_read(of, mode, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tbseg_ops.steps.plan"], "slabs_of", of_ten_slices)
    raw = datasets(finished / "run/volume.h5")["volume"]
    run, other = tmp_path / "run", tmp_path / "other"
    planned(run, finished / "slices", split=mode)
    through(run, until="ingest")
    slabs = [run / RunFolder(run).slab(slab).file for slab in RunFolder(run).plan.slabs]
    assert len(slabs) > 2
    if of == "another place":
        one, two = (path.read_bytes() for path in slabs[:2])
        assert len(one) == len(two)
        slabs[0].write_bytes(two)
        slabs[1].write_bytes(one)
    else:
        planned(other, stack(tmp_path / "slices", raw[::-1]), split=mode)
        through(other, until="ingest")
        theirs = other / RunFolder(other).slab(RunFolder(other).plan.slabs[0]).file
        assert theirs.stat().st_size == slabs[0].stat().st_size
        shutil.copy(theirs, slabs[0])
    with pytest.raises(IntegrityError, match="holds something else"):
        through(run, until="classify")
    if of == "another place":  # each try finds one of them
        with pytest.raises(IntegrityError, match="holds something else"):
            through(run)
    through(run)
    assert is_right(run, finished)


def edited(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["plan.json", "inputs.json", "spec.json"])
@pytest.mark.parametrize("of", ["other slices", "other parameters"])
def test_d9_the_plan_of_another_run_is_mended_by_planning_again(name, of, run, finished, tmp_path):
    other = tmp_path / "other"
    if of == "other slices":
        raw = datasets(finished / "run/volume.h5")["volume"]
        planned(other, stack(tmp_path / "reversed", raw[::-1]))
    else:
        planned(other, tmp_path / "slices", output="intensity")
    if (other / name).read_bytes() == (run / name).read_bytes():
        pytest.skip("the same slices: the same list")
    shutil.copy(other / name, run / name)
    with pytest.raises((ConfigError, IntegrityError), match="does not belong") as caught:
        steps.ingest(run=run)
    assert "tbseg plan --update" in caught.value.mend
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, update=True)
    assert through(run)["classify"].computed == 0
    assert is_right(run, finished)


@pytest.mark.parametrize("field", ["batch_size", "warnings", "engine_version"])
def test_d9_a_plan_that_was_edited_by_hand_is_refused(field, run, finished, tmp_path):
    value = {"batch_size": 3, "warnings": ["it fits"], "engine_version": "native-0"}[field]
    edited(run / "plan.json", **{field: value})
    with pytest.raises(IntegrityError, match="the plan was altered") as caught:
        steps.classify(run=run)
    assert "tbseg plan --update" in caught.value.mend
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run)
    assert through(run)["classify"].computed == 0
    assert is_right(run, finished)


def test_d9_two_names_exchanged_in_the_list_of_slices_are_noticed(run, tmp_path):
    slices = json.loads((run / "inputs.json").read_text())["slices"]
    edited(run / "inputs.json", slices=[slices[1], slices[0], *slices[2:]])
    with pytest.raises(ConfigError, match="does not belong to the plan"):
        steps.ingest(run=run)


def test_a_plan_of_an_earlier_tbseg_has_no_seal_and_is_believed(run, finished):
    whole = json.loads((run / "plan.json").read_text())
    before = {name: value for name, value in whole.items() if name not in ("seal", "listing")}
    assert len(before) == len(whole) - 2
    (run / "plan.json").write_text(json.dumps(before))
    assert through(run)["classify"].computed == 0
    assert is_right(run, finished)


def test_d10_a_result_that_was_altered_after_it_was_verified_is_not_published(run, finished):
    report = (run / "report.html").read_bytes()
    flip(run / "segmentation.h5", chunk_of(run / "segmentation.h5", "labels"))
    with pytest.raises(IntegrityError, match="the merged file is damaged in 1 tiles"):
        steps.publish(run=run)
    assert (run / "report.html").read_bytes() == report
    assert not status(run=run).verified
    through(run)
    assert is_right(run, finished)


def test_d5_counts_that_were_altered_after_it_was_verified_are_not_published(run, finished):
    right = RunFolder(run).records("classify").get(TILE).counts
    alter(run, "classify", TILE, counts=right[::-1])
    with pytest.raises(IntegrityError, match="altered after the result was verified"):
        steps.publish(run=run)
    assert not status(run=run).verified
    with pytest.raises(IntegrityError, match=TILE):
        steps.verify(run=run)
    through(run)
    assert RunFolder(run).records("classify").get(TILE).counts == right
    assert is_right(run, finished)


def test_d17_who_merges_beside_another_leaves_the_same_file_that_is_there(
    run, finished, monkeypatch
):
    """Between two steps of one who has merged, another one who began earlier took his file away."""
    module = sys.modules["tbseg_ops.steps.merge"]
    folder, create = RunFolder(run), module.create_merged
    for step in ("merge", "verify"):
        folder.records(step).drop("volume")
    there = []

    def meanwhile(file, plan):
        monkeypatch.undo()
        steps.merge(run=run)
        there.append(folder.segmentation_file.stat().st_ino)
        create(file, plan)

    monkeypatch.setattr(module, "create_merged", meanwhile)
    assert steps.merge(run=run).computed == 0
    assert there == [folder.segmentation_file.stat().st_ino]
    steps.verify(run=run)
    assert is_right(run, finished)


def test_d17_six_runs_of_one_folder_at_once_are_all_right(finished, tmp_path):
    run = tmp_path / "run"
    words = command("run", finished / "slices", VESSELS.classifier, run, "--tile", "20,24,30")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([*words, "--workers", "1"], **quiet) for _ in range(6)]
    told = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 6, told
    assert is_right(run, finished)
    assert temporary_files(run) == []


def test_the_seal_holds_when_a_later_version_has_more_fields(run):
    class Later(Plan):
        colour: str = "as today"

    stored = (run / "plan.json").read_bytes()
    assert not Later.model_validate_json(stored).is_altered
    assert json.loads(stored)["seal"] == Later.model_validate_json(stored).true_seal
