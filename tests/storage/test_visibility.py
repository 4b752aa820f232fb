"""Looking again for what may be seen late: never on a disk of this machine."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tbseg_ops.errors import ConfigError
from tbseg_ops.settings import SEEN_WITHIN
from tbseg_ops.storage import visibility
from tbseg_ops.storage.visibility import looked_again, make_folder, seen_within


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.setattr(visibility, "file_system", lambda folder: "nfs4")


def looks(until):
    """Something that is seen at that look, and the list of looks so far."""
    done = []

    def look():
        done.append(time.monotonic())
        return "seen" if len(done) >= until else None

    return look, done


def test_on_a_disk_of_this_machine_nothing_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(visibility, "file_system", lambda folder: "ext4")
    look, done = looks(2)
    assert looked_again(look, tmp_path / "file") is None
    assert len(done) == 1


def test_elsewhere_it_is_looked_at_again(tmp_path, shared):
    assert seen_within(tmp_path / "file") == 10
    look, done = looks(4)
    assert looked_again(look, tmp_path / "file") == "seen"
    assert len(done) == 4


def test_what_was_written_long_ago_is_not_waited_for(tmp_path, shared):
    look, done = looks(2)
    assert looked_again(look, tmp_path / "file", since=time.time() - 11) is None
    assert len(done) == 1


def test_a_clock_that_is_behind_makes_nobody_wait_longer(tmp_path, shared, monkeypatch):
    monkeypatch.setenv(SEEN_WITHIN.name, "0.3")
    look, done = looks(1000)
    assert looked_again(look, tmp_path / "file", since=time.time() + 3600) is None
    assert 0.2 < done[-1] - done[0] < 5


def test_the_setting(tmp_path, shared, monkeypatch):
    monkeypatch.setenv(SEEN_WITHIN.name, "0")
    assert seen_within(tmp_path / "file") == 0
    monkeypatch.setenv(SEEN_WITHIN.name, "-1")
    with pytest.raises(ConfigError, match="TBSEG_SEEN_WITHIN"):
        seen_within(tmp_path / "file")


def test_the_longest_mount_counts_and_of_two_on_one_folder_the_last(monkeypatch):
    table = [("/", "ext4"), ("/data/far", "nfs4"), ("/data", "xfs"), ("/data/far", "fuse.x")]
    mounts = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in table]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounts)
    visibility.mounted.cache_clear()
    kinds = [visibility.file_system(path) for path in map(Path, ("/d", "/data/far/x"))]
    visibility.mounted.cache_clear()
    assert kinds == ["ext4", "fuse.x"]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
