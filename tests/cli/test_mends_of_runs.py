"""Whoever does what the message of a refused step, run or dataset says is not refused again."""

import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tbseg_ops.run import RunFolder
from tbseg_ops.run.removed import mark_pruned
from tests.classifier.projects import changed, grown_tree, write_forests
from tests.cli.mends import command, follow, option, refusal
from tests.runs import VESSELS, copied
from tests.synthetic import write_page

TILES = "--tile", "20,24,30", "--ingest", "copy"  # as the finished run
ALONE = "--workers", 1


@dataclass
class Place:
    """``slices``, and a finished ``run`` over them that a case may change."""

    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def slices(self):
        return self.folder / "slices"

    @property
    def run(self):
        return self.folder / "run"

    @property
    def plan(self):
        return "plan", self.slices, VESSELS.classifier, self.run, *TILES

    def planned_with(self, *more):
        return "plan", self.slices, VESSELS.classifier, *more


def other_parameters(place):
    error = yield *place.plan, "--output", "intensity"
    assert "--update" in error.mend
    yield *place.plan, "--output", "intensity", "--update"


def a_new_folder_for_other_parameters(place):
    error = yield *place.plan, "--output", "intensity"
    assert "choose a new run folder" in error.mend
    yield *place.planned_with(place.folder / "new", *TILES), "--output", "intensity"


def a_folder_of_other_things(place):
    (place.folder / "notes.txt").write_text("mine")
    error = yield place.planned_with(place.folder)
    shutil.rmtree(place.run)
    yield place.planned_with(shlex.split(error.mend)[-1])


def no_run_yet(place):
    new = place.folder / "new"
    error = yield "ingest", "--run", new
    planned_as_told(place, error)
    yield "ingest", "--run", new, *ALONE


def no_run_in_a_folder_of_other_things(place):
    (place.folder / "mine").mkdir()
    (place.folder / "mine" / "notes.txt").touch()
    error = yield "status", place.folder / "mine"
    run = planned_as_told(place, error)
    yield "status", run


def planned_as_told(place, error):
    """Makes the plan that the mend names; its run folder."""
    words = command(error, "plan")
    known = {"VOLUME": place.slices, "CLASSIFIER": VESSELS.classifier}
    assert refusal([known.get(word, word) for word in words]) is None
    return words[-1]


def an_earlier_run_that_is_none(place):
    error = yield *place.plan, "--earlier", place.slices
    assert "leave it out" in error.mend
    yield place.plan


def no_such_batch(place):
    error = yield "classify", "--run", place.run, "--batch", 99
    assert "--batch" in error.mend
    yield "classify", "--run", place.run, "--batch", error.expected.split()[0], *ALONE


def no_such_tile(place):
    error = yield "classify", "--run", place.run, "--tiles", "z0_y0_x0"
    yield "classify", "--run", place.run, "--tiles", error.expected.split()[0], *ALONE


def merged_before_all_is_classified(place):
    shutil.rmtree(place.run / "records/classify")
    error = yield "merge", "--run", place.run, *ALONE
    assert refusal((*command(error, "classify"), *ALONE)) is None
    yield "merge", "--run", place.run, *ALONE


def a_damaged_class_file(place):
    shutil.rmtree(place.run / "records/merge")
    path = next((place.run / "classes").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    error = yield "merge", "--run", place.run, *ALONE
    assert refusal((*command(error, "classify"), *ALONE)) is None
    yield "merge", "--run", place.run, *ALONE


def nothing_merged_to_verify(place):
    (place.run / "segmentation.h5").unlink()
    error = yield "verify", "--run", place.run, *ALONE
    assert refusal((*command(error, "merge"), *ALONE)) is None
    yield "verify", "--run", place.run, *ALONE


def nothing_merged_to_prove(place):
    (place.run / "segmentation.h5").unlink()
    error = yield "prove", place.run, "--engine", "native", *ALONE
    assert refusal((*command(error, "merge"), *ALONE)) is None
    yield "prove", place.run, "--engine", "native", "--boxes", 6, *ALONE


def a_damaged_result(place):
    path = place.run / "segmentation.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    error = yield "verify", "--run", place.run, *ALONE
    assert refusal((*command(error, "repair"), *ALONE)) is None
    yield "verify", "--run", place.run, "--deep", *ALONE


def records_that_were_altered(place):
    path = next((place.run / "records/classify").iterdir())
    record = json.loads(path.read_bytes())
    record["counts"][0] += 1
    path.write_text(json.dumps(record))
    error = yield "publish", "--run", place.run
    assert refusal((*command(error, "repair"), *ALONE)) is None
    yield "publish", "--run", place.run


def a_plan_that_was_altered(place):
    plan = place.run / "plan.json"
    plan.write_text(plan.read_text().replace('"batch_size": 1', '"batch_size": 2'))
    error = yield "status", place.run
    assert refusal((*command(error, "repair"), *ALONE)) is None
    yield "status", place.run


def a_result_that_gc_has_removed(place):
    folder = RunFolder(place.run)
    mark_pruned(folder, ("segmentation", "classes"))
    for name in ("segmentation.h5", "classes"):
        path = place.run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    error = yield "prove", place.run, "--engine", "native", *ALONE
    assert "plan the run again and do all steps" in error.mend
    assert refusal(("run", *place.plan[1:], *ALONE)) is None
    yield "prove", place.run, "--engine", "native", "--boxes", 6, *ALONE


def called_off(place):
    assert refusal(("cancel", place.run)) is None
    error = yield "classify", "--run", place.run, *ALONE
    assert "tbseg plan" in error.mend
    assert refusal(place.plan) is None
    yield "classify", "--run", place.run, *ALONE


def a_slice_that_changed_after_the_plan(place):
    new = place.folder / "new"
    assert refusal(place.planned_with(new, *TILES)) is None
    write_page(place.slices / "img_5.tif", VESSELS.raw()[6, ..., 0])
    error = yield "ingest", "--run", new, *ALONE
    assert "tbseg plan" in error.mend
    assert refusal(place.planned_with(new, *TILES)) is None
    yield "ingest", "--run", new, *ALONE


def a_volume_of_another_size(place):
    new = place.folder / "new"
    assert refusal(place.planned_with(new, *TILES)) is None
    (place.slices / "img_36.tif").unlink()
    error = yield "ingest", "--run", new, *ALONE
    assert "planned again without it (tbseg plan)" in error.mend
    assert refusal(place.planned_with(new, *TILES)) is None
    yield "ingest", "--run", new, *ALONE


def another_classifier(place):
    other = _inexact(place)
    new = place.folder / "new"
    own = place.folder / "own.ilp"
    shutil.copy(VESSELS.classifier, own)
    plan = "plan", place.slices, own, new, *TILES
    for words in (plan, ("ingest", "--run", new, *ALONE)):
        assert refusal(words) is None
    shutil.copy(other, own)
    error = yield "classify", "--run", new, *ALONE
    assert "tbseg plan" in error.mend
    assert refusal(plan) is None
    yield "classify", "--run", new, *ALONE


def _inexact(place):
    return changed(place.folder, inexact, VESSELS.classifier)


def maps_that_lose_something(place):
    plan = "plan", place.slices, _inexact(place), place.folder / "new"
    more = "--probabilities", "all"
    error = yield *plan, *more, "--probability-dtype", "uint8"
    yield *plan, *more, *option(error, "--probability-dtype")


def tiles_too_small(place):
    place.patch.setattr(sys.modules["tbseg_ops.steps.plan"], "_MOST_TILES", 9)
    plan = place.planned_with(place.folder / "new")
    error = yield *plan, "--tile", "8,8,8"
    yield *plan, *option(error, "--tile")


def a_disk_that_is_too_small(place):
    plan, more = place.planned_with(place.folder / "new", *TILES), ("--split", "virtual")
    free = [1000, 1000, 10**9]
    step = sys.modules["tbseg_ops.steps.plan"]
    place.patch.setattr(step, "free_bytes", lambda path: free.pop(0))
    error = refusal((*plan, "--split", "copy"))
    assert "--split virtual" in error.mend
    error = yield *plan, *more
    assert "--split" not in error.mend
    yield *plan, *more


def a_setting_that_makes_no_sense(place):
    place.patch.setenv("TBSEG_DATASETS", "registry")
    error = yield "dataset", "list"
    assert "set TBSEG_DATASETS to the absolute path" in error.mend
    place.patch.setenv("TBSEG_DATASETS", str(place.folder / "registry"))
    yield "dataset", "list"


def a_path_that_may_not_be_used(place):
    place.patch.setenv("TBSEG_ROOTS", str(place.folder))
    error = yield place.plan
    assert "have TBSEG_ROOTS extended" in error.mend
    place.patch.setenv("TBSEG_ROOTS", f"{place.folder}:{VESSELS.folder}")
    yield place.plan


def a_dataset_of_that_name(place):
    add = "dataset", "add", "brain", place.slices, VESSELS.classifier
    assert refusal(add) is None
    error = yield *add, "--threads", 2
    assert "--replace" in error.mend
    yield *add, "--threads", 2, "--replace"


def no_such_name(place):
    error = yield "plan", "--dataset", "brain"
    assert "tbseg dataset add" in error.mend
    assert refusal(("dataset", "add", "brain", place.slices, VESSELS.classifier)) is None
    yield "plan", "--dataset", "brain"


def no_name(place):
    add = place.slices, VESSELS.classifier
    error = yield "dataset", "add", "my brain", *add
    assert "choose another name" in error.mend
    yield "dataset", "add", "my_brain", *add


def the_folder_of_another_dataset(place):
    add = place.slices, VESSELS.classifier
    assert refusal(("dataset", "add", "a", *add, "--runs", place.folder / "runs")) is None
    error = yield "dataset", "add", "b", *add, "--runs", place.folder / "runs"
    assert "--runs" in error.mend
    yield "dataset", "add", "b", *add, "--runs", place.folder / "other"


def a_damaged_file_of_a_dataset(place):
    add = "dataset", "add", "brain", place.slices, VESSELS.classifier
    assert refusal(add) is None
    (place.folder / "registry" / "brain.toml").write_text("{")
    error = yield "plan", "--dataset", "brain"
    assert "tbseg dataset add --replace" in error.mend
    assert refusal((*add, "--replace")) is None
    yield "plan", "--dataset", "brain"


def a_damaged_claim(place):
    runs = place.folder / "runs"
    add = "dataset", "add", "brain", place.slices, VESSELS.classifier, "--runs", runs
    assert refusal(add) is None
    runs.mkdir(exist_ok=True)
    (runs / "claim.json").write_text("{")
    error = yield "run", "--dataset", "brain", *ALONE
    assert "remove the file" in error.mend
    Path(error.file).unlink()
    yield "run", "--dataset", "brain", *ALONE


def runs_that_are_no_folder(place):
    runs = place.folder / "runs"
    runs.write_text("")
    add = "dataset", "add", "brain", place.slices, VESSELS.classifier
    assert refusal((*add, "--runs", runs)) is None
    error = yield "plan", "--dataset", "brain"
    assert "choose another folder" in error.mend
    assert refusal((*add, "--replace", "--runs", place.folder / "others")) is None
    yield "plan", "--dataset", "brain"


CASES = [
    *(other_parameters, a_new_folder_for_other_parameters, a_folder_of_other_things),
    *(no_run_yet, no_run_in_a_folder_of_other_things, an_earlier_run_that_is_none),
    *(no_such_batch, no_such_tile, merged_before_all_is_classified, a_damaged_class_file),
    *(nothing_merged_to_verify, nothing_merged_to_prove, a_damaged_result),
    *(records_that_were_altered, a_plan_that_was_altered, a_result_that_gc_has_removed, called_off),
    *(a_slice_that_changed_after_the_plan, a_volume_of_another_size, another_classifier),
    *(maps_that_lose_something, tiles_too_small, a_disk_that_is_too_small),
    *(a_setting_that_makes_no_sense, a_path_that_may_not_be_used),
    *(a_dataset_of_that_name, no_such_name, no_name, the_folder_of_another_dataset),
    *(a_damaged_file_of_a_dataset, a_damaged_claim, runs_that_are_no_folder),
]


def inexact(file):
    """A forest whose probabilities are no whole percents."""
    random = np.random.default_rng(1)
    write_forests(file, [[grown_tree(random, 23, 2, 2) for _ in range(99)]])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_mend_leads_on(case, finished, tmp_path, monkeypatch):
    folder = tmp_path / "Maus 3 [links]"
    folder.mkdir()
    copied(finished, folder)
    monkeypatch.setenv("TBSEG_DATASETS", str(folder / "registry"))
    follow(case(Place(folder, monkeypatch)))
