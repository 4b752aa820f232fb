"""How far a run is and when it will be done; and many runs as lines of a list."""

import os

import pytest

from tbseg_ops import steps
from tbseg_ops.forecast import Workforce
from tbseg_ops.forecast.predict import forecast
from tbseg_ops.run import RunFolder
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.view import run_list as module
from tbseg_ops.view.run_list import RunList
from tbseg_ops.view.standing import standing
from tbseg_ops.view.tiles import RunView
from tests.runs import copied, planned, spec_of, stack, through

TILES = [f"z00{z}_y00{y}_x00{x}" for z in (0, 1) for y in (0, 1) for x in (0, 1)]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A run of 8 tiles that are cut."""
    folder = tmp_path_factory.mktemp("cut")
    planned(folder / "run", stack(folder / "slices"))
    through(folder / "run", until="split")
    return folder


@pytest.fixture
def run(cut, tmp_path):
    return copied(cut, tmp_path)


def took(run, name, seconds, end):
    """Let a tile have taken so long, and have been committed then."""
    records = RunFolder(run).records("classify")
    record = records.get(name)
    records.put(record.model_copy(update={"seconds": seconds}))
    os.utime(records.path(name), (end, end))


def test_before_the_first_tile_it_is_what_was_forecast(run):
    view = RunView(RunFolder(run))
    assert standing(view).model_dump() == {
        **{"done": 0, "total": 8, "counted": True, "speed": None, "left": None},
        **{"to_the_end": False, "latest": None},
    }
    expected = forecast(run=run, workforce=Workforce(2)).hours
    found = standing(view)
    hours = [sum(s.hours.expected for s in forecast(run=run, workforce=Workforce(2)).steps[2:])]
    assert found.left.expected == pytest.approx(3600 * hours[0])
    assert found.left.expected <= 3600 * expected.expected
    assert found.to_the_end


def test_with_tiles_it_goes_by_their_pace(run):
    steps.classify(run=run, tiles=tuple(TILES[:4]))
    for number, name in enumerate(TILES[:4]):
        took(run, name, 100.0, 1e9 + 100 * (number + 1))
    found = standing(RunView(RunFolder(run)))
    assert (found.done, found.counted, found.latest) == (4, True, 1e9 + 400)
    folder = RunFolder(run)
    voxels = sum(sum(folder.records("classify").get(name).counts) for name in TILES[:4])
    assert found.speed == pytest.approx(voxels / 400)
    assert found.left.expected == pytest.approx(400, rel=0.01)
    assert found.left.low < 400 < found.left.high
    assert not found.to_the_end  # nobody has forecast what merge and verify take


def test_merge_and_verify_are_added_and_what_is_taken_over_is_not(run):
    before = forecast(run=run, workforce=Workforce(1))
    # As if 3 of the 8 were taken over from an earlier run.
    path = RunFolder(run).forecast_file
    path.write_bytes(before.model_copy(update={"tiles": 5}).to_bytes())
    os.utime(path, (1e9, 1e9))
    steps.classify(run=run, tiles=tuple(TILES[:4]))
    for number, name in enumerate(TILES[:4]):
        took(run, name, 100.0, 1e9 + 100 * (number + 1))
    found = standing(RunView(RunFolder(run)))
    after = sum(3600 * before.of(step).hours.expected for step in ("merge", "verify"))
    assert found.left.expected == pytest.approx(100 + after, rel=0.02)
    assert found.to_the_end


def test_of_a_finished_run_nothing_is_left(finished):
    found = standing(RunView(RunFolder(finished / "run")))
    assert (found.done, found.total, found.left) == (8, 8, None)
    assert found.speed > 0


def test_a_tile_that_was_taken_over_tells_no_pace(finished, tmp_path):
    steps.plan(spec=spec_of(finished / "slices"), run=tmp_path / "run", earlier=(finished / "run",))
    through(tmp_path / "run", until="classify")
    found = standing(RunView(RunFolder(tmp_path / "run")))
    assert (found.done, found.speed, found.latest) == (8, None, None)


def test_a_line_tells_what_a_run_is_of_and_what_changed(finished, tmp_path):
    new = tmp_path / "new"
    planned(new, finished / "slices", tile=(37, 45, 53))
    steps.plan(
        spec=spec_of(finished / "slices", probabilities="all"),
        run=tmp_path / "next",
        earlier=(finished / "run",),
    )
    paths = [finished / "run", new, tmp_path / "next", tmp_path / "none"]
    done, first, following, none = RunList().of(dict.fromkeys(paths, True)).values()
    assert done["result"] == str(finished / "run" / "segmentation.h5")
    assert (done["report"], done["changes"], done["standing"]["done"]) == (True, None, 8)
    assert (first["report"], first["result"], first["standing"]["total"]) == (False, None, 1)
    assert following["changes"] == ["the parameter probabilities has changed: from none to all"]
    assert first["digest"] == done["digest"] == RunFolder(new).plan.classifier.digest
    assert "error" in none
    assert "standing" not in RunList().of({new: False})[new]


def test_nothing_is_asked_twice_of_a_run_that_rests(finished, monkeypatch):
    runs, path = RunList(), finished / "run"
    first = runs.of({path: True})
    monkeypatch.setattr(module, "standing", None)  # cannot be called
    assert runs.of({path: True}) == first


def test_a_commit_is_seen_and_the_other_run_is_not_read_again(run, monkeypatch):
    runs = RunList()
    assert runs.of({run: True})[run]["standing"]["done"] == 0
    monkeypatch.setattr(module, "_changes", None)  # cannot be called
    steps.classify(run=run, tiles=(TILES[0],))
    assert runs.of({run: True})[run]["standing"]["done"] == 1


def test_what_is_not_reached_in_time_comes_with_the_next_look(finished, tmp_path):
    other = copied(finished, tmp_path)
    RunFolder(other).records("merge").drop(WHOLE)  # of a merged run all tiles are looked at
    runs = RunList()
    assert runs.of({other: True}, seconds=-1) == {other: {}}
    assert runs.of({other: True})[other]["standing"]["counted"]


def test_the_longest_unused_runs_are_forgotten(finished, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 1)
    monkeypatch.setattr(module, "_MOST_VIEWS", 0)
    runs = RunList()
    for path in (finished / "run", finished / "none"):
        runs.of({path: True})
    assert len(runs._lines) <= 1
    assert not runs._views
