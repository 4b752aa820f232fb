"""Retention: what goes, what stays, what it gives back, and that nobody is misled afterwards."""

import os
import shutil
from pathlib import Path

import pytest

from tbseg_ops import steps
from tbseg_ops.datasets import Runs, changes, choose, claim
from tbseg_ops.datasets import gc as gc_of
from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.processes.identity import Process
from tbseg_ops.run import RunFolder, takeover
from tbseg_ops.run.status import status
from tests.retention import add, incomplete, linked, room, what_is_left
from tests.runs import datasets, files_below, last_json, same, spec_of, tbseg, through

ALL = {"segmentation.h5", "classes", "tiles", "volume", "volume.h5"}
NEWEST = ALL - {"tiles"}
OLDER = {"segmentation.h5"}


@pytest.fixture
def runs(finished, tmp_path, monkeypatch):
    """The runs folder of dataset "brain", with the finished run as 0001; two are kept."""
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    add(tmp_path, finished / "slices", keep_runs=2)
    shutil.copytree(finished / "run", tmp_path / "runs" / "0001")
    return tmp_path / "runs"


def gc(remove=True):
    return gc_of(name="brain", remove=remove)


def left(runs):
    return {path.name: what_is_left(path) for path in sorted(runs.glob("0*"))}


def test_the_policy(runs):
    for number in ("0002", "0003", "0004", "0005"):
        linked(runs / "0001", runs / number)
    incomplete(runs / "0003")
    before, size = left(runs), room(runs)
    would = gc(remove=False)
    assert left(runs) == before
    freed = gc()
    assert freed == would
    assert left(runs) == {
        "0001": set(),
        "0002": set(),
        "0003": set(),
        "0004": OLDER,
        "0005": NEWEST,
    }
    assert sum(row.bytes for row in freed) == size - room(runs) > 0
    assert [(Path(row.run).name, row.what) for row in freed] == [
        ("0001", ("segmentation", "classes", "tiles", "volume")),
        ("0002", ("segmentation", "classes", "tiles", "volume")),
        ("0003", ("classes", "tiles", "volume")),
        ("0004", ("classes", "tiles", "volume")),
        ("0005", ("tiles",)),
    ]
    # Everything but the sub-volumes has a name left in 0005.
    assert [row.bytes > 0 for row in freed] == [False, False, False, False, True]
    assert gc() == ()
    records = {name for name in files_below(runs / "0005") if name.startswith("records/")}
    assert records == {n for n in files_below(runs / "0001") if n.startswith("records/")}


def test_what_somebody_has_open_is_left_to_the_file_system(runs):
    linked(runs / "0001", runs / "0002")
    held = runs / "0001" / "classes" / ".nfs000000000000a1b200000001"
    held.write_bytes(b"removed, and open on another host")
    gc()
    assert [path.name for path in (runs / "0001" / "classes").iterdir()] == [held.name]
    assert gc() == ()


def test_sub_volumes_are_kept_where_that_is_wanted(runs, finished):
    add(runs.parent, finished / "slices", keep_runs=2, keep_sub_volumes=True)
    linked(runs / "0001", runs / "0002")
    gc()
    assert left(runs) == {"0001": {"segmentation.h5", "tiles"}, "0002": ALL}


def test_nobody_is_misled_by_a_pruned_run(runs):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    gc()
    old, kept, newest = (status(run=runs / f"000{n}") for n in (1, 2, 3))
    assert [step.done for step in old.steps] == [0, 0, 0, 0, 0]
    assert (old.verified, old.segmentation) == (False, None)
    assert old.pruned == ("segmentation", "classes", "tiles", "volume")
    assert (kept.verified, kept.pruned) == (True, ("classes", "tiles", "volume"))
    assert (newest.verified, newest.pruned) == (True, ("tiles",))
    assert changes(name="brain").reasons == ("unchanged",)
    text = tbseg("status", runs / "0001").stdout
    assert "removed by tbseg gc: segmentation, classes, tiles, volume" in text
    with pytest.raises(ConfigError, match="gc has removed"):
        steps.verify(run=runs / "0002")
    assert status(run=runs / "0002").verified
    for number in ("0002", "0003"):  # somebody removes the newer runs by hand
        shutil.rmtree(runs / number)
    found = changes(name="brain")
    assert found.reasons == ("run 0001 is incomplete: its result was removed by tbseg gc",)


def test_a_pruned_run_is_never_taken_from_and_can_be_planned_again(runs, finished):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    expected = datasets(runs / "0001" / "segmentation.h5")
    gc()
    (runs / "0003" / "segmentation.h5").unlink()
    (runs / "0002" / "segmentation.h5").unlink()
    choice = choose(Runs(runs, "brain"))
    assert [Path(path).name for path in (choice.run, *choice.earlier)] == ["0003", "0002"]
    steps.plan(spec=spec_of(finished / "slices"), run=runs / "0001", update=True)
    assert [s.done for s in status(run=runs / "0001").steps] == [0, 0, 0, 0, 0]
    assert through(runs / "0001")["classify"].computed == 8
    state = status(run=runs / "0001")
    assert (state.verified, state.pruned) == (True, ())
    assert same(datasets(runs / "0001" / "segmentation.h5"), expected)


def test_the_next_run_takes_all_from_the_newest_one(runs, finished):
    linked(runs / "0001", runs / "0002")
    gc()
    choice = choose(Runs(runs, "brain"))
    new = Path(choice.run)
    assert new.name == "0003"
    earlier = tuple(map(Path, choice.earlier))
    steps.plan(spec=spec_of(finished / "slices"), run=new, earlier=earlier)
    results = through(new)
    assert [results[step].computed for step in ("ingest", "split", "classify")] == [0, 0, 0]
    assert same(datasets(new / "segmentation.h5"), datasets(runs / "0002" / "segmentation.h5"))


def test_without_a_verified_run_nothing_goes(runs):
    incomplete(runs / "0001")
    linked(runs / "0001", runs / "0002")
    before = left(runs)
    assert gc() == ()
    assert left(runs) == before


def test_an_unfinished_run_and_those_it_takes_from_are_not_touched(runs, finished):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    earlier = (runs / "0001", runs / "0003")
    steps.plan(spec=spec_of(finished / "slices"), run=runs / "0004", earlier=earlier)
    through(runs / "0004", until="ingest")
    gc()
    assert left(runs) == {
        "0001": ALL,
        "0002": OLDER,
        "0003": ALL,
        "0004": {"volume", "volume.h5"},
    }
    through(runs / "0004")
    gc()
    assert left(runs) == {"0001": set(), "0002": set(), "0003": OLDER, "0004": NEWEST}


def test_a_claimed_run_and_those_it_may_take_from_are_not_touched(runs):
    """Between the claim and the plan, and when a finished run is worked on again."""
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    folder = Runs(runs, "brain")
    dead = Process.this().model_copy(update={"started": 1})
    claim(folder, lambda: ("0004", ("0001",)), holder="dead", process=dead)
    gc()
    assert left(runs) == {"0001": ALL, "0002": OLDER, "0003": NEWEST}
    claim(folder, lambda: ("0003", ()), holder="it")
    gc()
    assert left(runs) == {"0001": set(), "0002": OLDER, "0003": NEWEST}


def test_a_run_whose_plan_cannot_be_read_is_left_alone(runs):
    for number in ("0002", "0003", "0004"):
        linked(runs / "0001", runs / number)
    (runs / "0001" / "plan.json").write_text("{")
    (runs / "0002" / "inputs.json").unlink()
    gc()
    assert left(runs) == {"0001": ALL, "0002": ALL, "0003": OLDER, "0004": NEWEST}


def test_links_are_not_followed(runs, tmp_path, finished):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    outside = shutil.copytree(finished / "run", tmp_path / "outside")
    before = files_below(outside)
    (runs / "0000").symlink_to(outside)
    shutil.rmtree(runs / "0001" / "tiles")
    (runs / "0001" / "tiles").symlink_to(outside / "tiles")
    (runs / "0001" / "classes" / "x.h5").symlink_to(outside / "segmentation.h5")
    (runs / "0001" / "segmentation.h5").unlink()
    (runs / "0001" / "segmentation.h5").symlink_to(outside / "segmentation.h5")
    (runs / "0001" / "notes.txt").write_text("mine")
    (runs / "mine").mkdir()
    gc()
    assert files_below(outside) == before
    assert (runs / "0001" / "notes.txt").exists()
    assert list((runs / "0001" / "classes").iterdir()) == [runs / "0001" / "classes" / "x.h5"]
    assert (runs / "mine").is_dir()


def test_a_piece_that_goes_while_it_is_taken_over_is_computed(
    runs, finished, tmp_path, monkeypatch
):
    """A run of somebody who names an earlier one by hand, unknown to gc: it is computed."""
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    expected = datasets(runs / "0001" / "segmentation.h5")
    new = tmp_path / "by hand"
    steps.plan(spec=spec_of(finished / "slices"), run=new, earlier=(runs / "0001",))
    through(new, until="split")
    link = takeover.commit_link
    done = []

    def late(source, final):
        if final.name.startswith("z001_y000"):
            done.append(gc())
        return link(source, final)

    monkeypatch.setattr(takeover, "commit_link", late)
    result = steps.classify(run=new)
    assert done[0] != ()
    assert (result.taken, result.computed) == (4, 4)
    through(new)
    assert same(datasets(new / "segmentation.h5"), expected)


def test_files_that_were_set_aside_go_too(runs):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    for name in ("segmentation.h5.set-aside-0a", ".segmentation.h5.host.1.0a.tmp"):
        (runs / "0001" / name).write_bytes(b"x")
    (runs / "0001" / "classes" / "z.h5.rival-1").write_bytes(b"x")
    gc()
    assert left(runs)["0001"] == set()


def test_the_command_shows_and_then_removes(runs):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    before = left(runs)
    shown = tbseg("gc")
    assert shown.returncode == 0
    assert "would be freed by --yes" in shown.stdout
    assert "0001" in shown.stdout
    assert left(runs) == before
    done = last_json(tbseg("gc", "brain", "--yes", "--json"))
    assert (done["removed"], done["errors"]) == (True, {})
    assert done["bytes"] == sum(row["bytes"] for row in done["rows"])
    assert left(runs)["0001"] == set()
    unknown = tbseg("gc", "brian", "--yes")
    assert unknown.returncode == 78
    assert "no such dataset" in unknown.stderr


def test_records_of_a_pruned_run_tell_what_was_done(runs):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    gc()
    ledger = RunFolder(runs / "0001").records("classify")
    assert len(ledger.names()) == 8
    assert all(ledger.get(name).seconds >= 0 for name in ledger.names())
    assert os.path.exists(runs / "0001" / "report.html")


def test_a_plan_that_fails_leaves_a_pruned_run_as_it_was(runs, finished):
    """Its records and the mark went before anything was checked; the next gc took the result."""
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    gc()
    old = runs / "0002"
    before = files_below(old)
    assert status(run=old).verified
    with pytest.raises(InputError):
        steps.plan(spec=spec_of("/nowhere"), run=old, update=True)
    assert files_below(old) == before
    assert status(run=old).verified
    assert gc() == ()


def test_the_result_of_a_run_that_was_only_planned_again_stays(runs, finished):
    for number in ("0002", "0003"):
        linked(runs / "0001", runs / number)
    gc()
    old = runs / "0002"
    result = (old / "segmentation.h5").read_bytes()
    steps.plan(spec=spec_of(finished / "slices"), run=old, update=True)
    assert not status(run=old).verified
    gc()
    assert (old / "segmentation.h5").read_bytes() == result
