"""Signs of life: what is being written is never swept, what nobody writes is, whoever wrote it."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time

import pytest

from tbseg_ops.storage import alive, commit
from tests.airflow_home import ROOT

WRITER = """
import sys, time
from pathlib import Path
from tbseg_ops.storage.commit import being_written
with being_written(Path(sys.argv[1])) as tmp:
    tmp.write_bytes(b"half")
    print(tmp.name, flush=True)
    time.sleep(600)
"""
DAY = 24 * 3600


@pytest.fixture
def writer(tmp_path):
    """Starts a process that is writing; gives it and its file."""
    started = []

    def start(*around):
        process = subprocess.Popen(
            [*around, sys.executable, "-c", WRITER, tmp_path / "a.h5"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, tmp_path / process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def shared(monkeypatch):
    """The folder is on a file system that other machines write to."""
    monkeypatch.setattr(alive, "of_this_machine", lambda folder: False)


def aged(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_it_is_there_as_long_as_its_writer_lives(writer, tmp_path):
    process, file = writer()
    aged(file, 9 * DAY)
    assert commit.sweep(tmp_path) == 0
    process.kill()
    process.wait()
    assert commit.sweep(tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_a_writer_in_a_container_lives_and_dies_too(writer, tmp_path, shared):
    apart = ["unshare", "--pid", "--uts", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("needs the right to make namespaces")
    process, file = writer(*apart)
    # Its process number is 1 or 2 there, whatever has that number here.
    assert int(file.name.split(".")[-3]) < 3
    assert commit.sweep(tmp_path) == 0
    process.kill()
    process.wait()
    end = time.monotonic() + 20
    while commit.sweep(tmp_path) == 0:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not file.exists()


@pytest.mark.parametrize("pod", ["k0123456789ab.1", "1"])
def test_of_another_machine_it_goes_a_day_later(pod, tmp_path, shared):
    file = tmp_path / f".segmentation.h5.pod-abc12.{pod}.7b78eb00.tmp"
    file.touch()
    aged(file, DAY - 60)
    assert commit.sweep(tmp_path) == 0
    aged(file, DAY + 60)
    assert commit.sweep(tmp_path) == 1


def test_before_a_restart_of_this_machine_nobody_writes_it_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(alive, "of_this_machine", lambda folder: True)
    (tmp_path / ".a.h5.host.k0123456789ab.1.7b78eb00.tmp").touch()
    earlier = tmp_path / ".a.h5.host.1.7b78eb00.tmp"  # of a tbseg that took no locks
    earlier.touch()
    assert commit.sweep(tmp_path) == 1
    assert earlier.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_it_goes_a_day_later(number, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    assert commit.commit_new(tmp_path / "a.h5", b"whole")
    with commit.being_written(tmp_path / "b.h5") as file:
        assert commit.sweep(tmp_path) == 0
        aged(file, DAY + 60)
        assert commit.sweep(tmp_path) == 1


def test_swept_before_its_lock_it_is_made_again(tmp_path, monkeypatch):
    real, swept = alive.hold, []

    def late(descriptor, path):
        if len(swept) < 2:
            swept.append(commit.sweep(path.parent))
        return real(descriptor, path)

    monkeypatch.setattr(commit, "hold", late)
    assert commit.commit_new(tmp_path / "a.h5", b"whole")
    assert swept == [1, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_other_files_and_links_are_left(tmp_path):
    (tmp_path / ".notes.tmp").touch()
    (tmp_path / "kept").touch()
    (tmp_path / f".a.h5.host.{alive.kernel()}.1.7b78eb00.tmp").symlink_to(tmp_path / "kept")
    assert commit.sweep(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 3


def test_what_takes_no_lock_is_left_while_it_is_written(tmp_path):
    """Such as the probes of a folder, of which several may be tried at once."""
    with commit.temporary(tmp_path / "probe") as probe:
        probe.write_bytes(b"one")
        assert commit.sweep(tmp_path) == 0
        assert probe.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["here", "in another pod"])
def test_two_fuse_mounts_do_not_see_each_others_locks(where, writer, tmp_path, shared, monkeypatch):
    """The lock seems to be free although the writer lives: his process is asked for, here only."""
    monkeypatch.setattr(alive, "is_fuse", lambda folder: True)
    monkeypatch.setattr(alive, "_lock", lambda descriptor, kind: True)
    process, file = writer()
    if where == "in another pod":
        host = alive.socket.gethostname()
        file = file.rename(file.with_name(file.name.replace(f".{host}.", ".another.")))
    assert commit.sweep(tmp_path) == 0
    process.kill()
    process.wait()
    assert commit.sweep(tmp_path) == (where == "here")
    if where == "in another pod":
        aged(file, 2 * DAY)
        assert commit.sweep(tmp_path) == 1
