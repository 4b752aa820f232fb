"""A new run takes over what an earlier one has of it, and computes the rest: the same result."""

import os
import shutil

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.work_left import work_left
from tests.quick import some_slow
from tests.runs import TILE, VESSELS, datasets, planned, same, spec_of, stack, tbseg, through
from tests.steps.test_identity import replaced
from tests.synthetic import write_page

COPIES = ["ingest", "split", "classify"]


def new_run(earlier, run, volume, **changes):
    """A run over ``volume`` that takes over from ``earlier``: its plan and its results by step."""
    made = steps.plan(spec=spec_of(volume, **changes), run=run, earlier=(earlier,))
    return made, through(run)


def fresh(tmp_path, volume, **changes):
    planned(tmp_path / "fresh", volume, **changes)
    through(tmp_path / "fresh", until="merge")
    return datasets(tmp_path / "fresh" / "segmentation.h5")


def counts(results, step):
    found = results[step]
    return found.computed, found.taken, found.derived


@pytest.fixture
def slices(finished, tmp_path):
    """A copy of the slices of the finished run, which a test may change."""
    return stack(tmp_path / "slices")


def test_the_same_again_computes_nothing(finished, tmp_path, slices):
    made, results = new_run(finished / "run", tmp_path / "run", slices)
    assert made.earlier == (str(finished / "run"),)
    assert counts(results, "ingest") == (0, 1, 0)
    assert counts(results, "split") == (0, 8, 0)
    assert counts(results, "classify") == (0, 8, 0)
    expected = datasets(finished / "run" / "segmentation.h5")
    assert same(datasets(tmp_path / "run" / "segmentation.h5"), expected)
    record = RunFolder(tmp_path / "run").records("classify").get("z000_y000_x000")
    assert record.origin == str(finished / "run")
    there = finished / "run" / record.file
    assert os.path.samefile(there, tmp_path / "run" / record.file)  # a link, not a copy
    report = (tmp_path / "run" / "report.html").read_text()
    assert f"8 tiles taken over from <code>{finished / 'run'}</code>" in report


def test_a_third_run_needs_the_first_no_more(finished, tmp_path, slices):
    """Links keep what was made in a run that is gone; its name stays in the records."""
    first, second, third = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    new_run(finished / "run", first, slices)
    new_run(first, second, slices)
    first.rename(tmp_path / "gone")
    _, results = new_run(second, third, slices)
    assert counts(results, "classify") == (0, 8, 0)
    assert RunFolder(third).records("classify").get("z000_y000_x000").origin == str(
        finished / "run"
    )


def test_sub_volumes_that_are_gone_are_not_cut_again(finished, tmp_path, slices):
    """Nothing needs them where the classes are there; a tile that is done anew gets its own."""
    earlier, run = tmp_path / "earlier", tmp_path / "run"
    new_run(finished / "run", earlier, slices)
    shutil.rmtree(earlier / "tiles")
    _, results = new_run(earlier, run, slices)
    assert counts(results, "split") == counts(results, "classify") == (0, 8, 0)
    assert not (run / "tiles").exists()
    assert steps.split(run=run).reused == 8
    assert steps.classify(run=run, tiles=("z000_y000_x000",)).computed == 1
    assert len(list((run / "tiles").iterdir())) == 1


def test_a_damaged_sub_volume_is_seen_when_it_is_read(finished, tmp_path, slices):
    earlier, run = tmp_path / "earlier", tmp_path / "run"
    new_run(finished / "run", earlier, slices)
    path = next((earlier / "tiles").glob("z001_y000_x000.*"))
    data = bytearray(path.read_bytes())
    path.unlink()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    ilp = str(retrained(tmp_path / "retrained.ilp"))
    new_run(earlier, run, slices, classifier=ilp)
    assert same(datasets(run / "segmentation.h5"), fresh(tmp_path, slices, classifier=ilp))


def test_a_replaced_slice(finished, tmp_path, slices):
    """Its pixels, not its date: exactly the tiles whose halo box holds it are computed."""
    replaced(slices, 36, VESSELS.raw()[36, ::-1, ::-1, 0])
    spec, run = spec_of(slices), tmp_path / "run"
    left = work_left(steps.draft(spec=spec, run=run, earlier=(finished / "run",)))
    made, results = new_run(finished / "run", run, slices)
    affected = [t for t in made.grid if t.box.lo[0] <= 36 < t.box.hi[0]]
    assert 0 < len(affected) < len(made.grid)
    rest = len(made.grid) - len(affected)
    assert counts(results, "split") == counts(results, "classify") == (len(affected), rest, 0)
    assert left.of("classify").reasons == {"slices were replaced, added or removed": len(affected)}
    assert (left.of("classify").computed, left.of("classify").taken) == (len(affected), rest)
    assert left.of("classify").voxels == sum(t.box.size for t in affected)
    assert same(datasets(run / "segmentation.h5"), fresh(tmp_path, slices))


def retrained(path):
    path.write_bytes(VESSELS.classifier.read_bytes())
    with h5py.File(path, "r+") as file:
        leaf = file["PixelClassification/ClassifierForests/Forest0000/Tree_00/parameters"]
        leaf[:] = np.where(np.isin(leaf[:], (0.0, 1.0)), leaf[:], leaf[:] + 0.5)
    return path


def test_a_retrained_classifier(finished, tmp_path, slices):
    ilp = str(retrained(tmp_path / "retrained.ilp"))
    spec, run = spec_of(slices, classifier=ilp), tmp_path / "run"
    left = work_left(steps.draft(spec=spec, run=run, earlier=(finished / "run",)))
    assert left.of("classify").reasons == {"the classifier was trained again": 8}
    _, results = new_run(finished / "run", run, slices, classifier=ilp)
    assert counts(results, "ingest") == (0, 1, 0)
    assert counts(results, "split") == (0, 8, 0)
    assert counts(results, "classify") == (8, 0, 0)
    assert same(datasets(run / "segmentation.h5"), fresh(tmp_path, slices, classifier=ilp))


@pytest.mark.parametrize(
    ("before", "after"),
    some_slow(
        [
            ({}, {"output": "intensity"}),
            ({"output": "intensity"}, {}),
            ({"probabilities": "all"}, {"probabilities": ("background",)}),
            ({"probabilities": "all"}, {}),
            ({"probabilities": "all"}, {"probabilities": "all", "probability_dtype": "uint8"}),
        ],
        2,
    ),
)
def test_another_output_asks_no_engine(tmp_path, slices, before, after, monkeypatch):
    planned(tmp_path / "before", slices, **before)
    through(tmp_path / "before", until="classify")
    expected = fresh(tmp_path, slices, **after)
    from tbseg_ops.engines.native.engine import NativeEngine

    monkeypatch.setattr(NativeEngine, "predict", None)
    monkeypatch.setattr(NativeEngine, "predict_labels", None)
    run = tmp_path / "run"
    spec = spec_of(slices, **after)
    draft = steps.draft(spec=spec, run=run, earlier=(tmp_path / "before",))
    assert work_left(draft).of("classify").derived == 8
    steps.plan(spec=spec, run=run, earlier=(tmp_path / "before",))
    results = through(run, until="merge")
    assert counts(results, "classify") == (0, 0, 8)
    assert same(datasets(run / "segmentation.h5"), expected)


def test_an_output_that_was_not_kept_asks_the_engine(finished, tmp_path, slices):
    spec = spec_of(slices, probabilities="all")
    draft = steps.draft(spec=spec, run=tmp_path / "run", earlier=(finished / "run",))
    assert work_left(draft).of("classify").reasons == {"the new outputs need what was not kept": 8}
    _, results = new_run(finished / "run", tmp_path / "run", slices, probabilities="all")
    assert counts(results, "classify") == (8, 0, 0)


@pytest.mark.parametrize("more", some_slow([9, 1], 1))
def test_appended_slices_compute_the_new_part_only(tmp_path, slices, more):
    """24 slices in tiles of 8, then some more: no seam moves, and far tiles are kept."""
    classifier = {"classifier": str(VESSELS.classifier), "tile": (8, 24, 30)}
    volume = np.concatenate([VESSELS.raw()[..., 0]] * 3)[: 80 + more]
    early, late = stack(tmp_path / "early", volume[:80]), stack(tmp_path / "late", volume)
    planned(tmp_path / "1", early, **classifier)
    through(tmp_path / "1")
    made, results = new_run(tmp_path / "1", tmp_path / "2", late, **classifier)
    halo = made.grid.halo[0]
    far = [t for t in made.grid if t.core.hi[0] + halo <= 80 and t.core.hi[0] <= 80]
    assert 0 < len(far) < len(made.grid)
    assert counts(results, "classify") == (len(made.grid) - len(far), len(far), 0)
    assert same(datasets(tmp_path / "2/segmentation.h5"), fresh(tmp_path, late, **classifier))
    write_page(late / f"img_{80 + more}.tif", volume[0])
    grown = steps.plan(spec=spec_of(late, **classifier), run=tmp_path / "2", update=True)
    assert grown.grid.core == made.grid.core  # also in the same folder


def test_a_volume_that_was_thin_is_cut_anew(tmp_path):
    """Cores far smaller than asked for would cost their halo for ever."""
    raw = VESSELS.raw()[..., 0]
    early = stack(tmp_path / "early", raw[:20])
    planned(tmp_path / "1", early, tile=(256, 24, 30))
    late = stack(tmp_path / "late", np.concatenate([raw] * 3))
    made = steps.plan(
        spec=spec_of(late, tile=(256, 24, 30)), run=tmp_path / "2", earlier=(tmp_path / "1",)
    )
    assert made.grid.core[0] == 111


@pytest.mark.parametrize("damage", some_slow(["flip", "link elsewhere", "truncate", "remove"], 2))
def test_a_damaged_piece_is_not_taken_over(finished, tmp_path, slices, damage):
    earlier, run = tmp_path / "earlier", tmp_path / "run"
    new_run(finished / "run", earlier, slices)
    path = sorted((earlier / "classes").iterdir())[2]
    data = bytearray(path.read_bytes())
    path.unlink()  # a link: the finished run must stay whole
    if damage == "flip":
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:100])
    elif damage == "link elsewhere":
        (tmp_path / "other.h5").write_bytes(data)
        path.symlink_to(tmp_path / "other.h5")
    _, results = new_run(earlier, run, slices)
    assert counts(results, "classify") == (1, 7, 0)
    expected = datasets(finished / "run" / "segmentation.h5")
    assert same(datasets(run / "segmentation.h5"), expected)


def test_another_file_system_gets_copies(finished, tmp_path, slices, monkeypatch):
    from tbseg_ops.storage import commit

    def refuse(source, target, **more):
        if "classes" in str(source) and not str(source).endswith(".tmp"):
            raise OSError(18, "Invalid cross-device link")
        real(source, target, **more)

    real = os.link
    monkeypatch.setattr(commit.os, "link", refuse)
    _, results = new_run(finished / "run", tmp_path / "run", slices)
    assert counts(results, "classify") == (0, 8, 0)
    record = RunFolder(tmp_path / "run").records("classify").get("z000_y000_x000")
    mine, theirs = tmp_path / "run" / record.file, finished / "run" / record.file
    assert mine.read_bytes() == theirs.read_bytes()
    assert not os.path.samefile(mine, theirs)


def test_a_folder_that_is_no_run_is_refused(tmp_path, slices):
    with pytest.raises(ConfigError, match="not the folder of a planned run"):
        new_run(tmp_path / "nowhere", tmp_path / "run", slices)
    assert not (tmp_path / "run" / "plan.json").exists()


def test_on_the_command_line(finished, tmp_path, slices):
    options = ["--tile", ",".join(map(str, TILE)), "--earlier", finished / "run"]
    arguments = [slices, VESSELS.classifier, tmp_path / "run", *options]
    told = tbseg("plan", "--explain", *arguments)
    assert told.returncode == 0, told.stderr
    assert "classify  0 of 8 to compute, 8 taken over" in told.stdout
    assert not (tmp_path / "run" / "plan.json").exists()
    done = tbseg("run", *arguments)
    assert done.returncode == 0, done.stderr
    assert "tiles: 0 computed, 0 already done, 8 taken over; " in done.stdout
