"""Signs of life: a temporary file is locked by whoever writes it, for as long as he lives.

The kernel keeps the lock and lets go of it with the process: no host name and no process number is
asked, which pods, containers and other machines may share. It is a lock of the open file (OFD) on a
byte far behind all content, and not ``flock``, which NFS takes for a lock of all bytes.
"""

import errno
import fcntl
import os
import re
import socket
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from tbseg_ops.storage.offered import NO_LOCKS
from tbseg_ops.storage.visibility import is_fuse, is_older, of_this_machine

_BYTE = 1 << 62
_UNTOUCHED = 24 * 3600  # seconds after which a file is given up of which nobody can be asked
_HELD = {errno.EAGAIN, errno.EACCES}
_NAME = re.compile(r"\..+?\.((?P<kernel>k[0-9a-f]{12})\.)?(?P<process>\d+)\.\w+\.tmp")


@cache
def kernel() -> str:
    """A short name of the kernel that runs here: one for all of its containers, until it ends."""
    return "k" + Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:12]


def hold(descriptor: int, path: Path) -> bool:
    """Lock the new file ``path`` until ``descriptor`` is closed; False if it was swept meanwhile.

    Where the file system has no locks the file goes without.
    """
    return _lock(descriptor, fcntl.F_RDLCK) is not False and os.path.lexists(path)


def remove_if_abandoned(path: Path) -> bool:
    """Remove a temporary file that nobody writes any more; whether this was done.

    That nobody holds its lock says enough if only this machine has the disk, or if its writer ran
    under this kernel. But two FUSE mounts of one folder, such as those of two pods, know nothing of
    each other's locks: there the writer must be a process of this host, and dead. Otherwise locks
    may not be seen from here, or there may be none: then it must not have been written to for a
    day, too.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        return False
    writer = match["kernel"]  # None: it took no lock, as an earlier tbseg did not
    told = writer is not None and (
        of_this_machine(path.parent)
        or (writer == kernel() and (not is_fuse(path.parent) or _is_dead_here(path, match)))
    )
    descriptor = None
    with suppress(OSError):  # gone, or of another user: who may write there sweeps it
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor is None:
        return False
    try:
        free = _lock(descriptor, fcntl.F_WRLCK)
        if free is None or not told:
            free = free is not False and is_older(
                _UNTOUCHED, os.fstat(descriptor).st_mtime, path.parent
            )
        if free:
            path.unlink(missing_ok=True)
        return free
    finally:
        os.close(descriptor)


def _is_dead_here(path: Path, match: re.Match[str]) -> bool:
    if f".{socket.gethostname()}.{kernel()}." not in path.name:
        return False
    with suppress(psutil.NoSuchProcess):
        # A zombie writes nothing.
        return bool(psutil.Process(int(match["process"])).status() == psutil.STATUS_ZOMBIE)
    return True


def _lock(descriptor: int, kind: int) -> bool | None:
    """Whether the lock was to be had; None if the file system has none."""
    flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, _BYTE, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, flock)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in NO_LOCKS:
            return None
        raise
    return True
