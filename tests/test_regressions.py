"""The defects of the scripts that tbseg replaces (2017 to 2019), one named test each.

| row | defect there | what holds here |
| --- | --- | --- |
| 1 | outputs named by a counter per rank overwrite each other | named by the tile |
| 2 | class volumes are uint8 while values are raw intensities | dtype and value are kept |
| 3 | ``raw * mask`` loses the class of voxels of value 0 | /labels stores membership as itself |
| 4 | the halo is a constant 20 | computed from the classifier |
| 5 | overlap is all or nothing | each face takes the context that exists |
| 6 | thin tails stop a rank | balanced; the plan says so |
| 7 | five-digit names sorted as text | no order comes from names |
| 8 | a fixed chunk larger than a small volume | any volume from one slice up works |
| 9 | lexicographic order, gaps not seen | natural order; gaps, doubles, mixed slices refused |
| 10 | errors print and exit 0 | errors exit non-zero and say what to do |
| 11 | a missing tile becomes zeros | merge refuses and names the tiles |
| 12 | every step deletes its earlier outputs | finished work is kept; one tile can be redone |
| 13 | inputs found by ``*subvol*.h5`` | the plan lists them |
| 14 | a label with "/" makes groups | any label name works |
| 15 | only some labels can have probability maps | any class, by name or all |
| 16 | the classifier is loaded for every tile | once per worker |
| 18 | the slowest rank sets the time | idle workers take the next piece |
| 19 | an exception leaves the others waiting | the whole job stops, non-zero |

Row 17 (object labels made per tile) concerns no step that exists here.
"""

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.classifier import read_passport
from tbseg_ops.errors import InputError, IntegrityError
from tbseg_ops.geometry import Grid
from tbseg_ops.run import Pool, RunFolder
from tests.reference_sets import ReferenceSet
from tests.runs import (
    TILE,
    VESSELS,
    command,
    datasets,
    files_below,
    last_json,
    planned,
    same,
    stack,
    tbseg,
    through,
)
from tests.synthetic import noise_volume, write_stack

SMALL_TILE = "20,24,30"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One finished run; tests that change it take a copy of their own instead."""
    folder = tmp_path_factory.mktemp("done")
    planned(folder / "run", stack(folder / "slices"), probabilities="all")
    through(folder / "run")
    return folder


def test_row_01_outputs_are_named_by_tile_for_any_number_of_workers(done, tmp_path):
    planned(tmp_path / "run", done / "slices", probabilities="all")
    through(tmp_path / "run", team=Pool(2))
    mine, theirs = tmp_path / "run", done / "run"
    assert {f for f in files_below(mine) if f.startswith("classes/")} == {
        f for f in files_below(theirs) if f.startswith("classes/")
    }
    assert same(datasets(mine / "segmentation.h5"), datasets(theirs / "segmentation.h5"))


def test_row_02_intensities_keep_dtype_and_value(tmp_path):
    raw = VESSELS.raw()[..., 0].astype(np.uint16) * 300  # far beyond 255
    planned(tmp_path / "run", stack(tmp_path / "slices", raw), output="intensity")
    through(tmp_path / "run", until="merge")
    found = datasets(tmp_path / "run" / "segmentation.h5")
    classes = [found[name] for name in found if name.startswith("classes/")]
    assert {c.dtype for c in classes} == {np.dtype("uint16")}
    assert np.array_equal(sum(c.astype(np.int64) for c in classes), raw)
    assert max(c.max() for c in classes) > 255


def test_row_03_a_voxel_of_value_zero_has_its_class(tmp_path):
    raw = VESSELS.raw()[..., 0].copy()
    raw[:, ::2] = 0
    planned(tmp_path / "run", stack(tmp_path / "slices", raw), output="intensity")
    through(tmp_path / "run", until="merge")
    found = datasets(tmp_path / "run" / "segmentation.h5")
    assert set(np.unique(found["labels"][raw == 0])) <= {1, 2}
    masks = datasets(_masks(tmp_path))
    members = sum(masks[n].astype(int) for n in masks if n.startswith("classes/"))
    assert (members == 1).all()


def _masks(tmp_path):
    planned(tmp_path / "masks", tmp_path / "slices")
    through(tmp_path / "masks", until="merge")
    return tmp_path / "masks" / "segmentation.h5"


@pytest.mark.parametrize(
    ("name", "halo"), [("vessels-3d", 14), ("vessels-all-features", 38), ("nuclei", 15)]
)
def test_row_04_the_halo_is_the_classifiers_own(name, halo):
    passport = read_passport(ReferenceSet(name).classifier)
    assert passport.halo_for((100, 100, 100)) == (halo, halo, halo)


def test_row_05_a_tile_takes_the_context_that_exists():
    first = Grid((420, 420, 420), (400, 400, 400), (50, 50, 50), (37, 37, 37))[0]
    assert first.box.hi == (420, 420, 420)


def test_row_06_thin_tails_are_balanced_and_the_plan_says_so(tmp_path):
    made = planned(tmp_path / "run", stack(tmp_path / "slices"), tile=(36, 44, 52))
    assert made.grid.counts == (2, 2, 2)
    assert min(made.grid[7].core.shape) >= 18
    assert "z: tiles of 36 over 37 voxels are balanced to 1 x 19 and 18" in made.notes


def test_row_07_no_order_comes_from_names():
    grid = Grid((2, 110_000, 1), (1, 1, 1), (1, 1, 1), (0, 0, 0))
    assert grid.by_name(grid[100_001].name).core.lo == (0, 100_001, 0)


@pytest.mark.parametrize("shape", [(1, 45, 53), (5, 20, 23)])
def test_row_08_small_volumes_work(tmp_path, shape):
    flat = ReferenceSet("vessels-2d")
    raw = VESSELS.raw()[: shape[0], : shape[1], : shape[2], 0]
    planned(
        tmp_path / "run",
        stack(tmp_path / "slices", raw),
        classifier=str(flat.classifier),
        tile=(256, 256, 256),
    )
    through(tmp_path / "run")
    assert datasets(tmp_path / "run" / "segmentation.h5")["labels"].shape == shape


def test_row_09_slices_are_in_natural_order_and_gaps_are_refused(tmp_path):
    volume = noise_volume((12, 20, 20))
    folder = write_stack(tmp_path / "slices", volume)  # img_0 ... img_11
    found = steps.audit(volume=str(folder))
    assert (found.first, found.last) == ("img_0.tif", "img_11.tif")
    (folder / "img_7.tif").unlink()
    with pytest.raises(InputError, match="7"):
        steps.audit(volume=str(folder))


@pytest.mark.parametrize(
    ("volume", "classifier", "code"),
    [("empty", "good", 65), ("good", "missing", 65), ("missing", "good", 65)],
)
def test_row_10_errors_exit_non_zero_and_say_what_to_do(tmp_path, volume, classifier, code):
    (tmp_path / "empty").mkdir()
    write_stack(tmp_path / "good", VESSELS.raw()[..., 0])
    ilp = VESSELS.classifier if classifier == "good" else tmp_path / "missing.ilp"
    result = tbseg("run", tmp_path / volume, ilp, tmp_path / "run")
    assert result.returncode == code
    assert result.stderr.startswith("error: ") or "\nerror: " in result.stderr
    assert "mend:" in result.stderr
    assert not (tmp_path / "run" / "segmentation.h5").exists()


def test_row_11_a_missing_tile_is_never_a_block_of_zeros(tmp_path):
    run = tmp_path / "run"
    made = planned(run, stack(tmp_path / "slices"))
    through(run, until="classify")
    victim = made.grid[3].name
    next((run / "classes").glob(f"{victim}.*.h5")).unlink()
    with pytest.raises(IntegrityError, match=victim):
        steps.merge(run=run)
    assert not (run / "segmentation.h5").exists()
    steps.classify(run=run)
    steps.merge(run=run)
    steps.verify(run=run)


def test_row_12_finished_work_is_kept_and_one_tile_can_be_redone(tmp_path):
    run = tmp_path / "run"
    made = planned(run, stack(tmp_path / "slices"))
    through(run)
    before = {p: p.stat().st_mtime_ns for p in (run / "classes").iterdir()}
    again = through(run, until="merge")
    assert [again[s].computed for s in ("ingest", "split", "classify", "merge")] == [0, 0, 0, 0]
    assert before == {p: p.stat().st_mtime_ns for p in (run / "classes").iterdir()}
    redone = steps.classify(run=run, tiles=(made.grid[2].name,))
    assert (redone.computed, redone.reused) == (1, 0)
    assert RunFolder(run).records("classify").get(made.grid[2].name).attempts == 2


def test_row_13_inputs_come_from_the_plan_not_from_a_glob(tmp_path):
    run = tmp_path / "merged_subvol_run"  # a name that "*subvol*.h5" would have matched
    planned(run, stack(tmp_path / "slices"))
    through(run)
    (run / "classes" / "subvol_of_somebody.h5").write_bytes(b"not ours")
    (run / "tiles" / "subvol.h5").write_bytes(b"not ours")
    assert steps.merge(run=run).reused == 1
    steps.verify(run=run)


def test_row_14_any_label_name_works(tmp_path):
    ilp = tmp_path / "names.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    names = ["a/b", "labels"]
    with h5py.File(ilp, "r+") as file:
        del file["PixelClassification/LabelNames"]
        file["PixelClassification/LabelNames"] = np.array(names, dtype=h5py.string_dtype())
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices"), classifier=str(ilp), probabilities="all")
    through(run)
    with h5py.File(run / "segmentation.h5") as file:
        assert set(file["classes"]) == {"a%2Fb", "labels"}
        assert file["classes/a%2Fb"].attrs["label"] == "a/b"
        assert set(file["probabilities"]) == {"a%2Fb", "labels"}


def test_row_15_any_class_can_have_its_probability_map(tmp_path):
    labels = read_passport(VESSELS.classifier).labels
    planned(tmp_path / "run", stack(tmp_path / "slices"), probabilities=(labels[0],))
    through(tmp_path / "run", until="merge")
    with h5py.File(tmp_path / "run" / "segmentation.h5") as file:
        assert list(file["probabilities"]) == [labels[0]]


def test_row_16_the_classifier_is_loaded_once_per_worker(tmp_path, monkeypatch):
    from tbseg_ops.run import workplace as work

    loads = []
    real = work.load_engine
    monkeypatch.setattr(work, "load_engine", lambda *a, **k: loads.append(1) or real(*a, **k))
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    through(tmp_path / "run", until="classify")
    assert len(loads) == 1


def test_row_18_idle_workers_take_the_next_piece(tmp_path):
    """One slow piece does not hold the others back: the fast worker does all the rest."""
    import time

    from tests.workers import slow_first

    start = time.perf_counter()
    who = list(Pool(2).map(slow_first, range(9)))
    assert time.perf_counter() - start < 30
    slow = next(pid for piece, pid in who if piece == 0)
    assert [piece for piece, pid in who if pid == slow] == [0]


def test_row_19_an_error_in_one_rank_ends_the_job(tmp_path):
    import shutil
    import subprocess
    import sys
    import time
    from pathlib import Path

    run = tmp_path / "run"
    made = planned(run, stack(tmp_path / "slices"))
    through(run, until="split")
    # A tile that cannot be made again: its file is damaged and the volume is gone.
    next((run / "tiles").glob(f"{made.grid[5].name}.*")).write_bytes(b"damaged")
    shutil.rmtree(run / "volume")
    mpiexec = Path(sys.executable).with_name("mpiexec")
    start = time.perf_counter()
    ended = subprocess.run(
        [mpiexec, "-n", "3", *command("classify", "--run", run)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert "a slab of the volume is missing" in ended.stderr
    assert time.perf_counter() - start < 60


def test_the_whole_by_one_command(tmp_path):
    volume = stack(tmp_path / "slices")
    result = last_json(
        tbseg("run", volume, VESSELS.classifier, tmp_path / "run", "--tile", SMALL_TILE, "--json")
    )
    assert result["tiles"] == result["computed"] == 8
    assert result["reused"] == 0
    assert TILE == (20, 24, 30)
    again = last_json(
        tbseg("run", volume, VESSELS.classifier, tmp_path / "run", "--tile", SMALL_TILE, "--json")
    )
    assert (again["computed"], again["reused"]) == (0, 8)
    with h5py.File(result["segmentation"]) as file:
        assert set(file["classes"]) == set(result["labels"])
