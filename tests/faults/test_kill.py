"""Faults 1 to 3: killed at every point of a commit, the same command ends right."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tests.quick import some_slow
from tests.runs import (
    VESSELS,
    command,
    copied,
    datasets,
    files_below,
    last_json,
    planned,
    same,
    tbseg,
    temporary_files,
    through,
)

POINTS = ["writing", "linked", "renamed", "syncing", "linking", "recording", "renaming"]


def start(flag, pause, *arguments, **more):
    return subprocess.Popen(
        command(*arguments),
        env={**os.environ, "TBSEG_PAUSE": pause, "TBSEG_PAUSE_FLAG": str(flag)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **more,
    )


def wait_for(flag, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not flag.exists():
        assert process.poll() is None, process.stdout.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process, signum=signal.SIGKILL):
    os.killpg(process.pid, signum)
    process.wait(30)
    process.stdout.close()


@pytest.mark.parametrize("point", some_slow(POINTS, 3))
def test_kill_9_in_the_middle_of_a_tile(point, finished, tmp_path):
    """Half of the tiles are done, the next one is killed at ``point``; those are not redone."""
    run = copied(finished, tmp_path)
    expected = datasets(run / "segmentation.h5")
    names = [tile.name for tile in RunFolder(run).plan.grid]
    for name in names[4:]:
        for path in [*run.glob(f"classes/{name}.*"), run / f"records/classify/{name}.json"]:
            path.unlink()
    (run / "segmentation.h5").unlink()
    done = {p: p.stat().st_mtime_ns for p in (run / "classes").iterdir()}
    flag = tmp_path / "flag"
    process = start(flag, f"{point}:{names[4]}", "classify", "--run", run, "--workers", 1)
    wait_for(flag, process)
    kill(process)
    for path in (run / "classes").glob("*.h5"):  # whatever has a final name is whole
        datasets(path)
    again = last_json(tbseg("classify", "--run", run, "--workers", 1, "--json"))
    committed = point in ("linked", "recording", "renaming", "renamed")
    assert again["reused"] == 4 + committed  # adopted by digest, not computed again
    assert again["computed"] == 4 - committed
    assert done.items() <= {p: p.stat().st_mtime_ns for p in (run / "classes").iterdir()}.items()
    through(run)
    assert same(datasets(run / "segmentation.h5"), expected)
    assert temporary_files(run) == []


@pytest.mark.parametrize("point", ["renaming:segmentation", "renamed:segmentation"])
def test_kill_9_while_merging(point, finished, tmp_path):
    run = copied(finished, tmp_path)
    expected = datasets(run / "segmentation.h5")
    (run / "records/merge/volume.json").unlink()
    flag = tmp_path / "flag"
    process = start(flag, point, "merge", "--run", run, "--workers", 1)
    wait_for(flag, process)
    kill(process)
    assert same(datasets(run / "segmentation.h5"), expected)  # the old or the new one, whole
    through(run)
    assert same(datasets(run / "segmentation.h5"), expected)
    assert temporary_files(run) == []


def test_kill_9_of_a_worker_of_the_pool(finished, tmp_path):
    """The kernel kills one worker: exit code 75, what is done stays, the rest follows."""
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = start(flag, "linking:z001", "classify", "--run", run, "--workers", 2)
    wait_for(flag, process)
    victim = children(process.pid)
    for pid in victim:
        os.kill(pid, signal.SIGKILL)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 75, output
    assert "a worker process died" in output
    done = len(list((run / "classes").glob("*.h5")))
    assert done >= 3
    again = last_json(tbseg("classify", "--run", run, "--json"))
    assert (again["computed"], again["reused"]) == (8 - done, done)
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


@pytest.mark.parametrize("workers", some_slow([2, 1], 1))
def test_sigterm_leaves_no_child_and_no_temporary_file(workers, finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = start(flag, "linking:z000_y001", "classify", "--run", run, "--workers", workers)
    wait_for(flag, process)
    pids = children(process.pid)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert temporary_files(run) == []
    assert "segmentation.h5" not in files_below(run)


def test_a_slow_first_attempt_ends_after_its_retry(finished, tmp_path):
    """Fault 22: the late commit finds the tile there, compares, and does no harm."""
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    name = "z000_y000_x000"
    process = start(flag, f"linking:{name}", "classify", "--run", run, "--workers", 1)
    wait_for(flag, process)
    through(run)
    before = datasets(run / "segmentation.h5")
    kill(process)
    again = last_json(tbseg("classify", "--run", run, "--tiles", name, "--json"))
    assert again["computed"] == 1
    assert last_json(tbseg("merge", "--run", run, "--json"))["reused"] == 1
    assert same(datasets(run / "segmentation.h5"), before)


def test_workers_on_one_tile_at_once_commit_once(finished, tmp_path):
    """Fault 20: the same batch by four processes at the same time."""
    run = copied(finished, tmp_path)
    expected = datasets(run / "segmentation.h5")
    for path in [*(run / "classes").iterdir(), *(run / "records/classify").iterdir()]:
        path.unlink()
    four = [
        subprocess.Popen(command("classify", "--run", run, "--batch", 0, "--workers", 1))
        for _ in range(4)
    ]
    assert [process.wait(120) for process in four] == [0, 0, 0, 0]
    assert len(list((run / "classes").iterdir())) == 1
    through(run)
    assert same(datasets(run / "segmentation.h5"), expected)


def children(pid):
    """The processes that ``pid`` has started, but the resource tracker, which ends by itself."""
    found = psutil.Process(pid).children()
    return [child.pid for child in found if "resource_tracker" not in " ".join(child.cmdline())]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_a_run_is_told_what_is_kept(number, finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    words = ["--tile", "20,24,30", "--workers", 1, finished / "slices", VESSELS.classifier, run]
    process = start(flag, "linking:z001", "run", *words)
    wait_for(flag, process)
    process.send_signal(number)
    output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 128 + number
    assert "interrupted: 0 of 8 tiles are classified, and kept in" in output
    assert "the same command again goes on" in output


def test_a_folder_with_somebodys_files_is_not_filled(finished, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"not empty, and no run(.|\n)*notes.txt"):
        planned(tmp_path, finished / "slices")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
