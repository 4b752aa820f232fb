"""The tiles of a run as data: the state that everything else tells, too, while work goes on."""

import json
import os

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.run.status import status
from tbseg_ops.view import tiles as module
from tbseg_ops.view.summary import summary
from tbseg_ops.view.tiles import RunView
from tests.runs import copied, planned, spec_of, stack, through


@pytest.fixture
def run(tmp_path):
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    return tmp_path / "run"


def states(view):
    layers = range(view.folder.plan.grid.counts[0])
    return {t["name"]: t["state"] for z in layers for t in view.layer(z)["tiles"]}


def test_a_view_that_is_kept_sees_each_step_of_the_work(run):
    view, seen = RunView(RunFolder(run)), []

    def changed():
        before = seen[-1] if seen else ""
        seen.append(view.revision)
        return seen[-1] != before

    assert changed()
    assert set(states(view).values()) == {"waiting"}
    through(run, until="split")
    assert changed()
    assert set(states(view).values()) == {"cut"}
    steps.classify(run=run, tiles=("z001_y000_x001",))
    assert changed()
    assert {n for n, s in states(view).items() if s == "done"} == {"z001_y000_x001"}
    assert [layer["done"] for layer in view.progress()] == [0, 1]
    steps.classify(run=run)
    through(run)
    assert changed()
    assert not changed()
    assert set(states(view).values()) == {"done"}
    assert (view.whole.merged, view.whole.verified) == (True, True)
    assert summary(view)["report"]


def test_exports_that_were_asked_for_are_told_with_their_paths(tmp_path):
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices"), publish=("tiff",))
    through(run, until="verify")
    view = RunView(RunFolder(run))
    path, before = str(run / "export" / "labels.tif"), view.revision
    assert summary(view)["exports"] == [{"path": path, "is_there": False}]
    steps.export(run=run)
    assert view.revision != before
    assert summary(view)["exports"] == [{"path": path, "is_there": True}]
    (run / "export" / "labels.tif").unlink()
    assert not summary(view)["exports"][0]["is_there"]


def test_a_row_says_what_the_record_says(finished):
    view = RunView(RunFolder(finished / "run"))
    row = view.layer(1)["tiles"][3]
    record = RunFolder(finished / "run").records("classify").get(row["name"])
    assert row["position"] == (1, 1, 1)
    assert (row["seconds"], row["host"]) == (record.seconds, record.host)
    assert row["shares"] == pytest.approx([n / sum(record.counts) for n in record.counts], abs=1e-6)
    assert row["outside"] == 0
    one = json.loads(json.dumps(view.one(row["name"])))
    assert one["record"]["content"] == record.content
    assert one["error"] is None
    assert all(a <= b for a, b in zip(one["halo"]["lo"], one["lo"], strict=True))


def test_what_is_lost_is_told_as_status_tells_it(finished, tmp_path):
    run = copied(finished, tmp_path)
    view = RunView(RunFolder(run))
    assert set(states(view).values()) == {"done"}
    name = "z000_y001_x000"
    (run / view.one(name)["record"]["file"]).unlink()
    assert states(view)[name] == "done"  # nothing needs it: the result is verified
    (run / "segmentation.h5").unlink()
    assert states(view)[name] == "lost"
    assert f"tbseg classify --run {run}" in view.one(name)["error"]["text"]
    missing = {step.step: step.missing for step in status(run=run).steps}["classify"]
    assert {n for n, s in states(view).items() if s != "done"} == set(missing)


def test_a_plan_that_is_exchanged_is_followed(finished, tmp_path):
    run = copied(finished, tmp_path)
    view = RunView(RunFolder(run))
    assert len(states(view)) == 8
    steps.plan(spec=spec_of(tmp_path / "slices", tile=(37, 45, 30)), run=run, update=True)
    assert states(view) == dict.fromkeys(("z000_y000_x000", "z000_y000_x001"), "waiting")
    assert not view.whole.merged


def test_nothing_is_asked_twice_of_records_that_did_not_change(finished, monkeypatch):
    view = RunView(RunFolder(finished / "run"))
    first = [view.layer(z) for z in range(2)]
    monkeypatch.setattr(module, "own_classes", None)  # cannot be called
    assert [view.layer(z) for z in range(2)] == first
    assert all(layer["done"] == layer["total"] for layer in view.progress(seconds=0))


def test_what_was_not_reached_in_time_is_counted_by_the_next_call(finished, tmp_path, monkeypatch):
    folder = RunFolder(copied(finished, tmp_path))
    folder.records("merge").drop(WHOLE)  # of a merged run all tiles are looked at
    view, clock = RunView(folder), [0.0]
    assert [layer["done"] for layer in view.progress(seconds=-1)] == [None, None]
    monkeypatch.setattr(module, "monotonic", lambda: clock.__setitem__(0, clock[0] + 1) or clock[0])
    counted = [[layer["done"] for layer in view.progress(seconds=3.5)] for _ in range(4)]
    assert counted == [[None, None], [4, None], [4, 4], [4, 4]]


def test_what_came_within_the_tick_of_the_last_look_is_counted_whenever_one_looks_again(
    finished, tmp_path, monkeypatch
):
    """The folder's time is the same then, however long ago the last look was."""
    folder = RunFolder(copied(finished, tmp_path))
    folder.records("merge").drop(WHOLE)
    place = folder.records("classify")
    path = place.path("z001_y001_x001")
    data = path.read_bytes()
    path.unlink()
    before = place.folder.stat()
    view, clock = RunView(folder), [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    assert [layer["done"] for layer in view.progress()] == [4, 3]
    path.write_bytes(data)
    os.utime(place.folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock[0] = 100.0
    assert [layer["done"] for layer in view.progress()] == [4, 4]


def test_a_folder_without_a_plan_and_a_tile_that_is_not_there(finished, tmp_path):
    with pytest.raises(ConfigError, match="not the folder of a planned run"):
        RunView(RunFolder(tmp_path))
    with pytest.raises(ConfigError, match="no tile of that name"):
        RunView(RunFolder(finished / "run")).one("z009_y000_x000")
