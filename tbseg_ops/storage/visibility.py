"""What another host wrote may be seen late, since network file systems cache names and attributes.

A host may go on for some seconds to hold a name for free, or a file for as long as it was. So what
should be there and is not is looked at again for a while before it counts as lost or damaged.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import psutil

from tbseg_ops.settings import SEEN_WITHIN

T = TypeVar("T")

_SEEN_WITHIN = 10.0  # seconds, where nothing is set
# File systems that only this machine writes to; whatever else it is may be shared with others.
_OF_THIS_MACHINE = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"}
_PAUSES = (0.02, 0.5)  # seconds between two looks: the first and the longest


def looked_again(look: Callable[[], T | None], path: Path, since: float | None = None) -> T | None:
    """What ``look`` gives; where that is None, it is called again until time is up.

    ``path``: what is looked at, in whose place a file may be seen late. ``since``: when it was
    written, in seconds since the epoch; None if it may have been just now. Time is up at once on
    a disk of this machine. No decision hangs on clocks being right, only how long is waited.
    """
    found = look()
    if found is not None or not (patience := seen_within(path)):
        return found
    age = 0.0 if since is None else max(0.0, time.time() - since)
    if since is not None and age > patience:
        if is_older(patience, since, path.parent):
            return None
        age = 0.0  # the clock of this machine is ahead
    end, pause = time.monotonic() + patience - age, _PAUSES[0]
    while found is None and time.monotonic() < end:
        time.sleep(pause)
        pause = min(2 * pause, _PAUSES[1])
        _ask_server(path.parent)
        found = look()
    return found


def is_older(seconds: float, moment: float, folder: Path) -> bool:
    """Whether ``moment``, when a file in ``folder`` was written, is more than ``seconds`` ago.

    So it must be by the clock of the file system, too: the one of this machine may be wrong.
    """
    return time.time() - moment > seconds and _now(folder) - moment > seconds


def _now(folder: Path) -> float:
    """The time that a file gets that is written there now, by a server's clock if there is one."""
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime
    return time.time()  # it cannot be written to


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there, be it unseen."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        there = Path(error.filename)
        if not looked_again(lambda: there.is_dir() or None, there):
            raise
        folder.mkdir(parents=True, exist_ok=True)


def seen_within(path: Path) -> float:
    """Seconds within which other hosts' files are seen at ``path``; 0 on a disk of this machine."""
    if of_this_machine(path.parent):
        return 0.0
    set_to = SEEN_WITHIN.value
    return _SEEN_WITHIN if set_to is None else set_to


def of_this_machine(folder: Path) -> bool:
    """Whether no other machine writes to the file system of a folder."""
    return file_system(folder) in _OF_THIS_MACHINE


def is_fuse(folder: Path) -> bool:
    """Whether a program serves the file system of a folder; it may be mounted more than once."""
    return file_system(folder).startswith("fuse")


def file_system(folder: Path) -> str:
    """The kind of the file system that holds ``folder``, or will hold it, as mount names it."""
    return mounted(folder)[1]


@lru_cache(maxsize=256)
def mounted(folder: Path) -> tuple[str, str]:
    """Where the file system that holds ``folder``, or will hold it, is mounted, and its kind."""
    real = folder.resolve()
    holding = [m for m in psutil.disk_partitions(all=True) if real.is_relative_to(m.mountpoint)]
    # Of several on one folder the last one is seen.
    best = max(range(len(holding)), key=lambda i: (len(holding[i].mountpoint), i), default=None)
    return ("/", "unknown") if best is None else (holding[best].mountpoint, holding[best].fstype)


def written(path: Path) -> float | None:
    """When a file was last changed or renamed, in seconds since the epoch; None if none is seen."""
    with suppress(OSError):
        return path.stat(follow_symlinks=False).st_ctime
    return None


def _ask_server(folder: Path) -> None:
    """NFS asks its server anew for the names in a folder that is opened."""
    with suppress(OSError):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
