"""Locks: the kernel's own, so that they go with the processes that hold them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbseg_ops.storage.commit import storage_errors


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold off whoever else wants the lock of ``folder``, which is made if it is not there.

    Waits for as long as it takes. Not to be taken twice by one thread: it would wait for itself.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(folder / ".lock", flags, 0o666)
    try:
        with storage_errors(folder):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file; False if there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
