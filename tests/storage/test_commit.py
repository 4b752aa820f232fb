"""The commit protocol, by what it promises."""

import errno
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tbseg_ops.errors import ConfigError, ResourceError
from tbseg_ops.storage import commit


def test_the_first_one_wins(tmp_path):
    final = tmp_path / "deep" / "tile.h5"
    assert commit.commit_new(final, b"one") is True
    assert commit.commit_new(final, b"two") is False
    assert final.read_bytes() == b"one"
    assert os.listdir(final.parent) == ["tile.h5"]


def test_of_many_at_once_exactly_one_wins(tmp_path):
    for round_ in range(30):
        final = tmp_path / f"{round_}.h5"
        barrier, wins = threading.Barrier(8), []

        def attempt(n, final=final, barrier=barrier, wins=wins):
            # As processes have their own ids, threads here get their own temporary names.
            tmp = final.with_name(f".{final.name}.{n}.tmp")
            tmp.write_bytes(b"%d" % n)
            barrier.wait()
            try:
                os.link(tmp, final)
                wins.append(n)
            except FileExistsError:
                pass

        threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(wins) == 1
        assert final.read_bytes() == b"%d" % wins[0]


@pytest.mark.parametrize("call", ["fsync", "link", "open"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failing_system_call_commits_nothing(tmp_path, monkeypatch, call, code):
    real = getattr(os, call)

    def broken(*args, **kwargs):
        if call == "open" and not str(args[0]).endswith(".tmp"):
            return real(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, broken)
    expected = ConfigError if code == errno.EROFS else ResourceError
    with pytest.raises(expected, match="tile"):
        commit.commit_new(tmp_path / "tile.h5", b"x")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


NEW_NAME = ["link", "replace"]


@pytest.mark.parametrize("how", ["new", "over", "published", "copied"])
def test_each_file_is_on_the_disk_before_its_name_and_then_the_name(how, tmp_path, monkeypatch):
    """After a power cut a name without its bytes would be an empty file that is whole by name."""
    final, calls = tmp_path / "tile.h5", []

    def watched(name, subject):
        real = getattr(os, name)

        def call(*args, **kwargs):
            calls.append((name, subject(*args[:1], **kwargs)))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    def of_path(path, src_dir_fd=None, **_):
        return os.stat(path, dir_fd=src_dir_fd).st_ino

    watched("fsync", lambda fd: os.fstat(fd).st_ino)
    watched("link", of_path)
    watched("replace", of_path)
    if how == "new":
        commit.commit_new(final, b"x")
    elif how == "over":
        commit.commit_over(final, b"x")
    elif how == "published":
        with commit.being_written(final) as tmp:
            tmp.write_bytes(b"x")
            commit.publish_file(tmp, final)
    else:
        (tmp_path / "source").write_bytes(b"x")
        commit._commit_copy(tmp_path / "source", final)
    file, folder = of_path(final), of_path(tmp_path)
    named = next(i for i, (name, _) in enumerate(calls) if name in NEW_NAME)
    assert calls[named][1] == file
    assert ("fsync", file) in calls[:named]
    assert ("fsync", folder) in calls[named:]


def test_without_hard_links_the_file_is_renamed(tmp_path, monkeypatch):
    def no_links(*args, **kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert commit.commit_new(tmp_path / "a", b"x")
    assert not commit.commit_new(tmp_path / "a", b"y")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_set_aside_keeps_every_version(tmp_path):
    path = tmp_path / "a"
    for content in (b"1", b"2"):
        path.write_bytes(content)
        commit.set_aside(path)
    assert not path.exists()
    assert sorted(p.read_bytes() for p in tmp_path.iterdir()) == [b"1", b"2"]
    assert commit.set_aside(path) is None


def test_storage_errors_keep_other_errors():
    with pytest.raises(KeyError), commit.storage_errors(Path("/x")):
        raise KeyError("x")


@pytest.fixture(params=["this file system", "XFS"])
def place(request, tmp_path):
    """A folder, and whether its file system shares blocks between files."""
    if request.param != "XFS":
        yield tmp_path, False
        return
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        pytest.skip("takes root and mkfs.xfs")
    image, mount = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    mount.mkdir()
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot be mounted: {done.stderr.decode()}")
    try:
        yield mount, True
    finally:
        subprocess.run(["umount", mount], check=True)


def test_d12_a_piece_that_is_taken_over_is_a_file_of_its_own_where_that_costs_nothing(place):
    folder, shares = place
    source, final = folder / "source", folder / "new" / "final"
    source.write_bytes(b"x" * 100_000)
    assert commit.commit_link(source, final)
    assert not commit.commit_link(source, final)
    assert (source.stat().st_ino != final.stat().st_ino) is shares
    with source.open("r+b") as file:
        file.write(b"y")
    assert final.read_bytes()[:2] == (b"xx" if shares else b"yx")
    assert sorted(os.listdir(final.parent)) == ["final"]
