"""prove: random boxes against an engine without tiles, the bound, and where the statement goes."""

import json
import shutil
from math import comb

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError, IntegrityError
from tbseg_ops.geometry import Box
from tbseg_ops.run import Pool, RunFolder
from tbseg_ops.run.boxes import drawn, tiles_of
from tbseg_ops.run.outputs import chunks_digest, raw_chunks
from tbseg_ops.run.proof import stored_proof, upper_bound
from tbseg_ops.run.records import sha256_of
from tbseg_ops.run.removed import mark_pruned
from tbseg_ops.run.status import status
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS, copied, last_json, planned, spec_of, stack, tbseg, through
from tests.synthetic import write_stack

NATIVE = {"engine": "native", "side": 12}


def counts(folder):
    return [folder.records("classify").get(tile.name).counts for tile in folder.plan.grid]


def changed(run, voxel, dataset="labels"):
    with h5py.File(run / "segmentation.h5", "r+") as file:
        data = file[dataset]
        data[voxel] = 3 - data[voxel] if dataset == "labels" else 0.123


def computed_wrongly(folder, tile):
    """A class file, and its record, as a machine that computes wrongly would have left them."""
    record = folder.records("classify").get(tile.name)
    path = folder.path / record.file
    with h5py.File(path, "r+") as file:
        file["labels"][:8, :8, :8] = 3 - file["labels"][:8, :8, :8]
        file.flush()
        chunks = chunks_digest(raw_chunks(file, folder.plan, tile.core, (0, 0, 0)))
    what = {"chunks": chunks, "size": path.stat().st_size, "sha256": sha256_of(path)}
    folder.records("classify").put(record.model_copy(update=what))


@pytest.mark.parametrize(
    ("differing", "boxes", "bound"),
    # From tables of the exact binomial interval (90 %, two-sided: 95 % on one side).
    [
        (0, 300, 0.0099361),
        (0, 3000, 0.00099808),
        (1, 100, 0.0465600),
        (5, 100, 0.1022525),
        (500_000, 1_000_000, 0.500823),  # by the normal distribution
    ],
)
def test_the_bound_is_the_tables(differing, boxes, bound):
    assert upper_bound(differing, boxes) == pytest.approx(bound, rel=1e-4)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 57), (1, 8), (5, 300), (299, 300), (2, 5000)])
def test_the_bound_is_where_so_few_are_found_once_in_twenty_times(k, n):
    p = upper_bound(k, n)
    assert sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)) == pytest.approx(0.05)


def test_a_bound_needs_a_box_that_is_right():
    assert upper_bound(0, 0) == upper_bound(3, 3) == 1.0


def test_a_finished_run_is_proved(finished, tmp_path):
    run = copied(finished, tmp_path)
    proof = steps.prove(run=run, boxes=40, team=Pool(2), **NATIVE)
    assert (proof.boxes, proof.differing, proof.wrong, proof.labels) == (40, 0, 0, 0)
    assert proof.bound == pytest.approx(1 - 0.05 ** (1 / 40))
    assert proof.statement.startswith(
        "0 of 40 boxes differ: fewer than 7.3 % of boxes are wrong, with 95 % confidence."
    )
    assert "from the input volume by engine native" in proof.statement
    folder = RunFolder(run)
    assert stored_proof(folder, folder.records("merge").get("volume").key) == proof
    before = folder.proof_file.read_bytes()
    steps.prove(run=run, boxes=40, **NATIVE)
    assert folder.proof_file.read_bytes() == before


def test_a_seed_gives_its_boxes_and_another_one_others(finished):
    folder = RunFolder(finished / "run")
    first, again, other = (drawn(folder, counts(folder), 12, 60, seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_boxes_lie_anywhere_across_seams_and_in_each_class(finished):
    folder = RunFolder(finished / "run")
    grid = folder.plan.grid
    boxes = drawn(folder, counts(folder), 8, 300, seed=0)
    whole = Box((0, 0, 0), grid.volume)
    assert all(box.shape == (8, 8, 8) and whole.contains(box) for box in boxes)
    for box in boxes:
        touched = [t.name for t in grid if t.core.intersection(box)]
        assert tiles_of(grid, box) == touched
    assert all(len(tiles_of(grid, box)) > 1 for box in boxes[1::3])
    assert any(len(tiles_of(grid, box)) == 1 for box in boxes[::3])
    with h5py.File(folder.segmentation_file) as file:
        for number, box in enumerate(boxes[2::3]):
            assert (file["labels"][box.slices] == 1 + number % 2).any()


def test_a_rare_class_is_looked_for_where_it_is(finished, tmp_path):
    """One voxel of it in the volume: a third of all boxes hold it, whatever the seed."""
    run = copied(finished, tmp_path)
    folder = RunFolder(run)
    with h5py.File(folder.segmentation_file, "r+") as file:
        file["labels"][...] = 1
        file["labels"][30, 40, 50] = 2
    rare = [(0, 1) if t.index == 7 else (t.core.size, 0) for t in folder.plan.grid]
    for seed in range(3):
        for box in drawn(folder, rare, 8, 12, seed)[5::6]:
            assert box.contains(Box((30, 40, 50), (31, 41, 51)))


def test_one_wrong_voxel_is_found_named_and_shown(finished, tmp_path):
    run = copied(finished, tmp_path)
    folder = RunFolder(run)
    box = drawn(folder, counts(folder), 12, 9, seed=0)[1]
    assert len(tiles_of(folder.plan.grid, box)) > 1
    changed(run, box.lo)
    with pytest.raises(IntegrityError) as caught:
        steps.prove(run=run, boxes=9, **NATIVE)
    assert f"box {box.lo} to {box.hi}" in str(caught.value)
    assert all(name in caught.value.tile for name in tiles_of(folder.plan.grid, box))
    proof = stored_proof(folder, folder.records("merge").get("volume").key)
    assert proof is not None
    assert 1 <= proof.wrong == proof.differing <= 9
    assert {n for d in proof.different for n in d.voxels.values()} == {1}
    assert any(d.lo == box.lo and d.voxels == {"labels": 1} for d in proof.different)


def test_the_command_ends_with_74_and_the_report_tells(finished, tmp_path):
    run = copied(finished, tmp_path)
    folder = RunFolder(run)
    computed_wrongly(folder, folder.plan.grid[0])
    steps.merge(run=run)
    done = tbseg("prove", run, "--boxes", 60, "--engine", "native", "--workers", 1, "--json")
    assert done.returncode == 74
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert error["class"] == "IntegrityError"
    assert "z000_y000_x000" in error["tile"]
    steps.publish(run=run)
    top = (run / "report.html").read_text().split("<h2>Classes")[0]
    assert "not proved" in top
    assert "z000_y000_x000" in top


def test_a_map_that_differs_is_wrong_though_no_label_is(finished, tmp_path):
    planned(tmp_path, finished / "slices", probabilities="all")
    through(tmp_path, until="merge")
    proof = steps.prove(run=tmp_path, boxes=6, **NATIVE)
    assert proof.probability == 0.0
    folder = RunFolder(tmp_path)
    box = drawn(folder, counts(folder), 12, 6, seed=0)[0]
    name = f"probabilities/{folder.plan.classifier.labels[0]}"
    changed(tmp_path, box.lo, name)
    with pytest.raises(IntegrityError, match="probabilities"):
        steps.prove(run=tmp_path, boxes=6, **NATIVE)
    found = stored_proof(folder, proof.merged)
    assert found is not None
    assert (found.labels, found.wrong >= 1) == (0, True)
    assert 0 < found.probability <= 1


def test_the_run_folder_alone_on_another_machine(finished, tmp_path, monkeypatch):
    """Neither the input nor the classifier lies where it was."""
    slices, classifier = tmp_path / "slices", tmp_path / "here.ilp"
    shutil.copytree(finished / "slices", slices)
    shutil.copy(VESSELS.classifier, classifier)
    steps.plan(spec=spec_of(slices, classifier=str(classifier)), run=tmp_path / "run")
    through(tmp_path / "run", until="merge")
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    (tmp_path / "run").rename(moved)
    shutil.rmtree(slices)
    classifier.rename(tmp_path / "there.ilp")
    with pytest.raises(ConfigError, match="--classifier"):
        steps.prove(run=moved, boxes=3, **NATIVE)
    with pytest.raises(ConfigError, match="not the classifier of the run"):
        steps.prove(run=moved, boxes=3, classifier=ReferenceSet("vessels-2d").classifier, **NATIVE)
    proof = steps.prove(run=moved, boxes=9, classifier=tmp_path / "there.ilp", **NATIVE)
    assert (proof.differing, proof.raw_from) == (0, "slabs")
    assert "from the run's slabs of the volume" in proof.statement
    for slab in (moved / "volume").iterdir():
        slab.unlink()
    mark_pruned(RunFolder(moved), ("volume",))
    with pytest.raises(ConfigError, match="nothing is left") as caught:
        steps.prove(run=moved, boxes=3, classifier=tmp_path / "there.ilp", **NATIVE)
    assert "tbseg gc has removed them" in str(caught.value)


def test_with_a_mask_only_boxes_that_hold_some_of_it_count(tmp_path):
    mask = np.zeros(VESSELS.raw().shape[:3], np.uint8)
    mask[:10] = 1
    volume = stack(tmp_path / "slices")
    planned(tmp_path / "run", volume, mask=str(write_stack(tmp_path / "mask", mask)))
    through(tmp_path / "run", until="merge")
    proof = steps.prove(run=tmp_path / "run", boxes=30, **NATIVE)
    assert 10 <= proof.boxes < 30
    assert proof.differing == 0
    assert proof.raw_from == "input"
    assert proof == steps.prove(
        run=tmp_path / "run", boxes=30, raw_from="slabs", **NATIVE
    ).model_copy(update={"raw_from": "input"})


def test_report_and_crate_tell_it_until_there_is_another_merge(finished, tmp_path):
    run = copied(finished, tmp_path)
    result = last_json(
        tbseg("prove", run, "--boxes", 12, "--engine", "native", "--workers", 1, "--json")
    )
    assert (result["step"], result["boxes"], result["differing"]) == ("prove", 12, 0)
    assert result["bound"] == pytest.approx(1 - 0.05 ** (1 / 12))

    def told():
        steps.publish(run=run)
        page, crate = (
            (run / name).read_text() for name in ("report.html", "ro-crate-metadata.json")
        )
        entities = {e["@id"]: e for e in json.loads(crate)["@graph"]}
        in_crate = entities.get("prove.json", {}).get("description") == result["statement"]
        in_page = ">proved<" in page and "0 of 12 boxes differ" in page
        return in_page, in_crate

    assert told() == (True, True)
    (run / "segmentation.h5").unlink()
    steps.merge(run=run)
    assert status(run=run).segmentation is not None
    assert told() == (False, False)


def test_a_proof_of_another_merged_file_does_not_count(finished, tmp_path):
    run = copied(finished, tmp_path)
    proof = steps.prove(run=run, boxes=3, **NATIVE)
    folder = RunFolder(run)
    assert stored_proof(folder, "0" * 64) is None
    assert stored_proof(folder, proof.merged) == proof
    folder.proof_file.write_text("{}")
    assert stored_proof(folder, proof.merged) is None


def test_an_input_that_is_not_what_was_planned_is_not_taken_for_it(finished, tmp_path):
    run = copied(finished, tmp_path)
    for path in (tmp_path / "slices").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="changed") as caught:
        steps.prove(run=run, boxes=3, **NATIVE)
    assert "--raw slabs" in caught.value.mend
    assert steps.prove(run=run, boxes=3, raw_from="slabs", **NATIVE).differing == 0
