"""Locks: the kernel's own, so that they go with the processes that hold them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.storage.commit import storage_errors
from tbseg_ops.storage.offered import NO_LOCKS
from tbseg_ops.storage.visibility import make_folder


@contextmanager
def locked(folder: Path, *, needed: bool = True) -> Iterator[None]:
    """Hold off whoever else wants the lock of ``folder``, which is made if it is not there.

    Waits for as long as it takes. Not to be taken twice by one thread: it would wait for itself.
    ConfigError where there is no lock to be had; if it is not ``needed``, the work goes on without.
    """
    with storage_errors(folder):
        make_folder(folder)
    fd = None
    try:
        try:
            with storage_errors(folder), lock_errors(folder):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                fd = os.open(folder / ".lock", flags, 0o666)
                fcntl.flock(fd, fcntl.LOCK_EX)
        except ConfigError:
            if needed:
                raise
        yield
    finally:
        if fd is not None:
            os.close(fd)


@contextmanager
def lock_errors(path: Path) -> Iterator[None]:
    """ConfigError, naming the options of mounting, where the file system has no locks."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise ConfigError(
            "this file system has no locks (flock), which planning a run needs",
            file=path,
            expected="a lock",
            found=os.strerror(error.errno or 0),
            mend="mount it with locks: NFS with a running lockd, or -o local_lock=flock where one"
            " machine works on it; Lustre with -o flock; CIFS without nobrl; or choose a run folder"
            " elsewhere",
        ) from error


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file; False if there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        with lock_errors(path):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
