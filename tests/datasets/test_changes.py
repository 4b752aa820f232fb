"""Whether a dataset needs a run is told by content, and each reason names what has changed."""

import os
import shutil

import h5py
import numpy as np
import pytest

from tbseg_ops import datasets, steps
from tbseg_ops.datasets import Dataset, Runs
from tbseg_ops.engines import choose as engine
from tbseg_ops.errors import InputError
from tbseg_ops.run.differences import slice_changes
from tests.runs import VESSELS, spec_of, stack, through
from tests.synthetic import write_page

RAW = VESSELS.raw()[..., 0]


@pytest.fixture
def brain(finished, tmp_path, monkeypatch):
    """A dataset "brain" with its own slices and classifier, and run 0001 over them, finished."""
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    shutil.copytree(finished / "slices", tmp_path / "slices")
    shutil.copytree(finished / "run", tmp_path / "runs" / "0001")
    (tmp_path / "c.ilp").write_bytes(VESSELS.classifier.read_bytes())
    register(tmp_path)
    steps.plan(spec=datasets.get("brain").spec, run=tmp_path / "runs" / "0001", update=True)
    return tmp_path


def register(folder, **changes):
    spec = spec_of(folder / "slices", classifier=str(folder / "c.ilp"), **changes)
    made = Dataset.of(owner="me", runs=str(folder / "runs"), spec=spec.model_dump())
    datasets.add("brain", made, replace=True)


def reasons():
    found = datasets.changes(name="brain")
    assert found.needed is (found.reasons != ("unchanged",))
    return found.reasons


def write(folder, z, plane):
    """Another slice of the same size and date."""
    path = folder / "slices" / f"img_{z}.tif"
    before = path.stat()
    write_page(path, plane)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_nothing_has_changed(brain):
    for path in (brain / "slices").iterdir():
        os.utime(path)  # dates are of no interest
    found = datasets.changes(name="brain")
    assert (found.needed, found.reasons) == (False, ("unchanged",))
    assert found.run == str(brain / "runs" / "0001")


def test_the_first_run(brain):
    shutil.rmtree(brain / "runs")
    found = datasets.changes(name="brain")
    assert (found.needed, found.reasons, found.run) == (True, ("first run",), None)


def test_a_replaced_slice(brain):
    write(brain, 7, RAW[7, ::-1])
    assert reasons() == ("1 slice was replaced: img_7.tif",)


def test_appended_slices(brain):
    for z in range(37, 45):
        write_page(brain / "slices" / f"img_{z}.tif", RAW[z - 37])
    assert reasons() == (
        "8 slices were added: img_37.tif, img_38.tif, img_39.tif, img_40.tif, img_41.tif"
        " and 3 more",
    )


def test_a_slice_less_at_the_end_and_one_in_front(brain):
    (brain / "slices" / "img_36.tif").unlink()
    assert reasons() == ("1 slice was removed: img_36.tif",)
    for z in range(35, -1, -1):
        (brain / "slices" / f"img_{z}.tif").rename(brain / "slices" / f"img_{z + 1}.tif")
    write_page(brain / "slices" / "img_0.tif", RAW[20])
    assert reasons()[0].startswith("37 slices were replaced")  # two changes at once, by name


def test_other_names_for_the_same_slices_are_no_change(brain):
    for path in sorted((brain / "slices").iterdir()):
        path.rename(path.with_name("x" + path.name))
    assert reasons() == ("unchanged",)


def test_the_volume_and_the_classifier_elsewhere_are_no_change(brain):
    (brain / "slices").rename(brain / "moved")
    shutil.copy(brain / "c.ilp", brain / "d.ilp")
    spec = spec_of(brain / "moved", classifier=str(brain / "d.ilp"), max_batches=2, split="virtual")
    made = Dataset.of(owner="you", runs=str(brain / "runs"), spec=spec.model_dump())
    datasets.add("brain", made, replace=True)
    assert reasons() == ("unchanged",)


CASES = {
    "replaced": ("abcdef", "abXdef", ["1 slice was replaced: 2"]),
    "appended": ("abc", "abcde", ["2 slices were added: 3, 4"]),
    "put in front, all renamed": ("abc", "Xabc", ["1 slice was added: 0"]),
    "taken from the middle, renamed": ("abcd", "acd", ["1 slice was removed: 1"]),
    "exchanged": ("abcd", "acbd", ["2 slices were replaced: 1, 2"]),
    "replaced and appended": (
        "abcd",
        "aXcdY",
        ["1 slice was replaced: 1", "1 slice was added: 4"],
    ),
    "equal slices": ("aaaa", "aaa", ["1 slice was removed: 3"]),
    "all": ("ab", "cd", ["2 slices were replaced: 0, 1"]),
}


@pytest.mark.parametrize(("before", "after", "told"), CASES.values(), ids=CASES)
def test_slices_by_name_and_content(before, after, told):
    def numbered(letters):
        return [(str(z), letter) for z, letter in enumerate(letters)]

    assert slice_changes(numbered(before), numbered(after)) == told
    assert slice_changes(numbered(before), numbered(before)) == []


def test_slices_of_the_same_names_in_another_order():
    before = [("a", "1"), ("b", "2"), ("c", "3")]
    assert slice_changes(before, before[::-1]) == ["the order of the slices has changed"]
    renamed = [("x", "1"), ("b", "2"), ("y", "9"), ("c", "3")]
    assert slice_changes(before, renamed) == ["1 slice was added: y"]
    moved = [("b", "2"), ("x", "1"), ("c", "4")]
    assert slice_changes(before, moved) == ["1 slice was replaced: c"]


def test_a_hostile_name_is_printable():
    (told,) = slice_changes([("a", "1")], [("a", "1"), ("b\x1b[2J", "2")])
    assert "\x1b" in told  # as the file system has it; changes() escapes what it says


def test_a_retrained_classifier(brain):
    with h5py.File(brain / "c.ilp", "r+") as file:
        leaf = file["PixelClassification/ClassifierForests/Forest0000/Tree_00/parameters"]
        leaf[:] = np.where(np.isin(leaf[:], (0.0, 1.0)), leaf[:], leaf[:] + 0.5)
    (told,) = reasons()
    assert told.startswith("the classifier was trained again: ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tile": (16, 24, 30)}, "tile has changed: from 20, 24, 30 to 16, 24, 30"),
        ({"output": "intensity"}, "output has changed: from mask to intensity"),
        ({"probabilities": "all"}, "probabilities has changed: from none to all"),
        ({"probability_dtype": "uint8"}, "probability_dtype has changed: from float32 to uint8"),
    ],
)
def test_other_parameters(changes, told, brain):
    register(brain, **changes)
    assert reasons() == (f"the parameter {told}",)


def test_a_mask_comes_changes_and_goes(brain):
    mask = np.ones(RAW.shape, np.uint8)
    stack(brain / "mask", mask)
    register(brain, mask=str(brain / "mask"))
    assert reasons() == ("there is a mask now",)
    steps.plan(spec=datasets.get("brain").spec, run=brain / "runs" / "0001", update=True)
    through(brain / "runs" / "0001")
    assert reasons() == ("unchanged",)
    write_page(brain / "mask" / "img_3.tif", mask[3] * 0)
    assert reasons() == ("1 slice of the mask was replaced: img_3.tif",)
    register(brain)
    assert reasons() == ("there is no mask any more",)


def test_another_version_of_the_engine(brain, monkeypatch):
    monkeypatch.setattr(engine, "NATIVE_VERSION", "0-of-the-test")
    (told,) = reasons()
    assert told.startswith("the version of engine native has changed: from ")
    assert told.endswith(" to 0-of-the-test")


def test_an_incomplete_run_tells_what_it_lacks(brain):
    run = brain / "runs" / "0002"
    run.mkdir()
    assert reasons() == ("run 0002 is incomplete: not planned",)
    steps.plan(spec=datasets.get("brain").spec, run=run)
    assert reasons() == (
        "run 0002 is incomplete: ingest 1 of 1 missing, split 8 of 8 missing,"
        " classify 8 of 8 missing, merge missing, verify missing",
    )
    through(run, until="split")
    steps.classify(run=run, tiles=("z000_y000_x000",))
    write(brain, 7, RAW[7, ::-1])
    assert reasons() == (
        "run 0002 is incomplete: classify 7 of 8 missing, merge missing, verify missing",
        "1 slice was replaced: img_7.tif",
    )


def test_a_damaged_plan_is_an_incomplete_run(brain):
    (brain / "runs" / "0001" / "plan.json").write_text("{}")
    (told,) = reasons()
    assert told.startswith("run 0001 is incomplete: the file is damaged")


def test_a_result_that_is_not_what_was_verified(brain):
    result = brain / "runs" / "0001" / "segmentation.h5"
    size = result.stat().st_size
    with result.open("ab") as file:
        file.write(b"x")
    assert reasons() == (
        f"run 0001 is incomplete: its result has changed: {size + 1} bytes instead of {size}",
    )
    result.unlink()
    assert reasons() == ("run 0001 is incomplete: its result is missing",)


def test_unusable_input_is_an_error_as_at_plan(brain):
    (brain / "slices" / "img_7.tif").unlink()
    with pytest.raises(InputError):
        datasets.changes(name="brain")
    write_page(brain / "slices" / "img_7.tif", RAW[7, :, :-1])
    with pytest.raises(InputError, match="img_7"):
        datasets.changes(name="brain")


def test_the_next_run_and_what_it_may_take_over(brain):
    runs = Runs(brain / "runs", "brain")

    def chosen():
        choice = datasets.choose(runs)
        return [os.path.basename(path) for path in (choice.run, *choice.earlier)]

    assert chosen() == ["0002", "0001"]
    steps.plan(spec=datasets.get("brain").spec, run=brain / "runs" / "0002")
    assert chosen() == ["0002", "0001"]
    (brain / "runs" / "0003").mkdir()  # a claimer that was killed before it had a plan
    assert chosen() == ["0003", "0002", "0001"]
    for name in ("0004", "0005", "0006"):
        shutil.copytree(brain / "runs" / "0002", brain / "runs" / name)
    assert chosen() == ["0006", "0005", "0004", "0001"]  # the verified one is always among them
    shutil.copytree(brain / "runs" / "0001", brain / "runs" / "0007")
    assert chosen() == ["0008", "0007"]
    (brain / "runs" / "0007" / "segmentation.h5").unlink()
    assert chosen() == ["0007", "0006", "0005", "0001"]
