"""Locks of a folder, where the file system has none."""

import errno
import os

import pytest

from tbseg_ops.errors import ConfigError, ResourceError
from tbseg_ops.storage.locks import is_locked, locked


@pytest.fixture
def flock(monkeypatch):
    def set_error(number):
        def fail(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", fail)

    return set_error


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_no_locks_is_a_matter_of_set_up(number, flock, tmp_path):
    (tmp_path / ".lock").touch()
    flock(number)
    with pytest.raises(ConfigError, match=r"has no locks(.|\n)*mend: mount it"), locked(tmp_path):
        pass
    with pytest.raises(ConfigError, match="has no locks"):
        is_locked(tmp_path / ".lock")


def test_another_error_is_the_disks(flock, tmp_path):
    flock(errno.EIO)
    with pytest.raises(ResourceError), locked(tmp_path):
        pass


def test_where_a_lock_is_not_needed_the_work_goes_on_without(flock, tmp_path):
    flock(errno.ENOLCK)
    with locked(tmp_path, needed=False):
        pass
    flock(errno.EIO)
    with pytest.raises(ResourceError), locked(tmp_path, needed=False):
        pass
