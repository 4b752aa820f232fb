"""What is finished is told by what it was made from, never by its being there."""

import os

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError, IntegrityError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.runs import (
    VESSELS,
    copied,
    datasets,
    files_below,
    planned,
    same,
    spec_of,
    stack,
    tbseg,
    temporary_files,
    through,
)
from tests.synthetic import write_page


@pytest.fixture
def run(tmp_path, finished):
    """A copy of a finished run over its own copy of the slices."""
    return copied(finished, tmp_path)


def replaced(slices, z, plane):
    """Other pixels, the same size and date."""
    path = slices / f"img_{z}.tif"
    before = path.stat()
    write_page(path, plane)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_a_plan_is_the_same_bytes_each_time(run, tmp_path):
    before = (run / "plan.json").read_bytes()
    planned(run, tmp_path / "slices")
    assert (run / "plan.json").read_bytes() == before


def test_a_replaced_slice_recomputes_the_tiles_whose_halo_holds_it(run, tmp_path):
    """The last slice lies in the halo of all tiles but those far from it."""
    raw = VESSELS.raw()[..., 0].copy()
    raw[36] = raw[36, ::-1, ::-1]
    replaced(tmp_path / "slices", 36, raw[36])
    made = planned(run, tmp_path / "slices")
    affected = [t for t in made.grid if t.box.lo[0] <= 36 < t.box.hi[0]]
    assert 0 < len(affected) < len(made.grid)
    results = through(run)
    assert results["classify"].computed == len(affected)
    assert results["classify"].reused == len(made.grid) - len(affected)
    planned(tmp_path / "fresh", tmp_path / "slices")
    through(tmp_path / "fresh", until="merge")
    assert same(datasets(run / "segmentation.h5"), datasets(tmp_path / "fresh/segmentation.h5"))


def test_a_slice_replaced_after_the_plan_is_refused(tmp_path):
    run, slices = tmp_path / "run", stack(tmp_path / "slices")
    planned(run, slices)
    replaced(slices, 5, VESSELS.raw()[6, ..., 0])
    with pytest.raises(InputError, match="changed since the plan") as caught:
        steps.ingest(run=run)
    assert "img_5.tif" in str(caught.value)
    assert not (run / "volume.h5").exists()


def test_a_retrained_classifier_recomputes_classify_only(run, tmp_path):
    ilp = tmp_path / "retrained.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    planned_with = {"classifier": str(ilp)}
    again = tmp_path / "again"
    planned(again, tmp_path / "slices", **planned_with)
    through(again)
    with h5py.File(ilp, "r+") as file:
        leaf = file["PixelClassification/ClassifierForests/Forest0000/Tree_00/parameters"]
        leaf[:] = np.where(np.isin(leaf[:], (0.0, 1.0)), leaf[:], leaf[:] + 0.5)
    refused = tbseg("classify", "--run", again, "--tiles", "z000_y000_x000")
    assert refused.returncode == ConfigError.exit_code
    assert "the classifier is not the one that the plan was made with" in refused.stderr
    made = planned(again, tmp_path / "slices", **planned_with)
    results = through(again)
    assert (results["ingest"].computed, results["split"].computed) == (0, 0)
    assert results["classify"].computed == len(made.grid)


def test_saving_a_project_again_changes_nothing(run, tmp_path):
    """ilastik writes a new time stamp at each save: no reason to compute for 30 hours."""
    ilp = tmp_path / "saved.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    again = tmp_path / "again"
    planned(again, tmp_path / "slices", classifier=str(ilp))
    through(again)
    with h5py.File(ilp, "r+") as file:
        del file["time"]
        file["time"] = b"Mon Nov 23 00:00:00 2026"
    planned(again, tmp_path / "slices", classifier=str(ilp))
    assert through(again)["classify"].computed == 0


def test_other_parameters_need_the_users_word(run, tmp_path):
    with pytest.raises(ConfigError, match="other parameters") as caught:
        planned(run, tmp_path / "slices", output="intensity")
    assert "output = mask" in str(caught.value)
    assert "--update" in str(caught.value)
    spec = spec_of(tmp_path / "slices", output="intensity")
    steps.plan(spec=spec, run=run, update=True)
    results = through(run)
    assert (results["split"].computed, results["classify"].computed) == (0, 0)
    assert results["classify"].derived == 8  # no engine was asked: the labels were there
    assert len([f for f in files_below(run) if f.startswith("classes/")]) == 8  # none left over


@pytest.mark.parametrize("damage", ["truncate", "flip", "zero", "remove", "other tile"])
def test_a_damaged_tile_is_found_and_made_anew(run, damage):
    good = datasets(run / "segmentation.h5")
    first, second = sorted((run / "classes").iterdir())[:2]
    data = bytearray(first.read_bytes())
    if damage == "truncate":
        first.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        with h5py.File(first) as file:
            chunk = file["labels"].id.get_chunk_info(0)
        data[chunk.byte_offset + chunk.size // 2] ^= 0x10
        first.write_bytes(data)
    elif damage == "zero":
        first.write_bytes(bytes(len(data)))
    elif damage == "remove":
        first.unlink()
    else:
        first.write_bytes(second.read_bytes())
    result = steps.classify(run=run)
    assert (result.computed, result.reused) == (1, 7)
    steps.merge(run=run)
    steps.verify(run=run)
    assert same(datasets(run / "segmentation.h5"), good)
    assert temporary_files(run) == []


def test_verify_looks_at_each_byte(run):
    """Two voxels of a tile that have exchanged their classes everywhere: the counts are right."""
    folder, path = RunFolder(run), run / "segmentation.h5"
    core = folder.plan.grid[5].core.slices
    with h5py.File(path, "r+") as file:
        arrays = [file["labels"], *file["classes"].values()]
        labels = arrays[0][core]
        one, two = (tuple(np.argwhere(labels == label)[0]) for label in (1, 2))
        for array in arrays:
            part = array[core]
            part[one], part[two] = part[two], part[one]
            array[core] = part
    record = folder.records("merge").get("volume")
    folder.records("merge").put(record.model_copy(update={"size": path.stat().st_size}))
    with pytest.raises(IntegrityError, match="its chunks are not those that were recorded"):
        steps.verify(run=run)


@pytest.mark.parametrize("damage", ["flip", "chunk of zeros", "other run"])
def test_verify_finds_an_altered_result_and_merge_repairs_it(run, damage):
    path = run / "segmentation.h5"
    good = datasets(path)
    if damage == "flip":
        with h5py.File(path) as file:
            offset = file["labels"].id.get_chunk_info(3).byte_offset
        data = bytearray(path.read_bytes())
        data[offset + 5] ^= 1
        path.write_bytes(data)
    elif damage == "chunk of zeros":
        with h5py.File(path, "r+") as file:
            file["labels"][:20, :24, :30] = 0
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["key"] = "0" * 64
    with pytest.raises(IntegrityError):
        steps.verify(run=run)
    steps.merge(run=run)
    if damage == "other run":  # the record was right, the file's word was not
        RunFolder(run).records("merge").drop("volume")
        steps.merge(run=run)
    steps.verify(run=run)
    assert same(datasets(path), good)


def test_a_damaged_slab_and_sub_volume_are_made_anew(run):
    slab = next((run / "volume").iterdir())
    slab.write_bytes(slab.read_bytes()[:-100])
    tile = next((run / "tiles").iterdir())
    tile.write_bytes(b"")
    classes = next((run / "classes").glob(tile.name.split(".")[0] + ".*"))
    classes.unlink()
    with pytest.raises(IntegrityError, match="slab"):
        steps.classify(run=run)
    assert steps.ingest(run=run).computed == 1
    assert steps.classify(run=run).computed == 1
    steps.merge(run=run)
    steps.verify(run=run)


def test_lost_records_are_rebuilt_from_what_the_files_say(run):
    import shutil

    shutil.rmtree(run / "records")
    results = through(run)
    assert [results[s].computed for s in ("ingest", "split", "classify")] == [0, 0, 0]


def test_two_different_results_for_one_key_are_both_kept(run, monkeypatch):
    from tbseg_ops.engines.native.engine import NativeEngine

    real = NativeEngine.predict_labels
    monkeypatch.setattr(
        NativeEngine, "predict_labels", lambda self, raw, core: 3 - real(self, raw, core)
    )
    with pytest.raises(IntegrityError, match="different results"):
        steps.classify(run=run, tiles=("z000_y000_x000",))
    kept = sorted(p.name for p in (run / "classes").glob("z000_y000_x000*"))
    assert len(kept) == 2
    assert status(run=run).verified


def test_a_late_worker_of_an_old_plan_records_nothing(run, tmp_path, monkeypatch):
    folder = RunFolder(run)
    folder.plan, folder.inputs  # noqa: B018  read the old plan
    spec = spec_of(tmp_path / "slices", output="intensity")
    steps.plan(spec=spec, run=run, update=True)
    from tbseg_ops.steps.split import split_tile

    before = (run / "records/split/z000_y000_x000.json").read_bytes()
    with pytest.raises(ConfigError, match="plan of this run was changed"):
        split_tile(folder, folder.plan.grid[0], force=True)
    assert (run / "records/split/z000_y000_x000.json").read_bytes() == before
