"""The commit protocol: nothing under a final name is ever half-written.

temporary name in the same folder -> write -> fsync -> link (first one wins) or rename -> fsync of
the folder. Everything may run twice at once; nothing is decided by wall-clock.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tbseg_ops.errors import ConfigError, ResourceError, TbsegError
from tbseg_ops.settings import PAUSE, PAUSE_FLAG, check_kept
from tbseg_ops.storage.alive import hold, kernel, remove_if_abandoned
from tbseg_ops.storage.offered import NOT_OFFERED
from tbseg_ops.storage.visibility import make_folder, mounted

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = NOT_OFFERED | {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV}
_NO_SYNC = NOT_OFFERED | {errno.EBADF, errno.ENOTTY}
# What a removed file is called as long as somebody has it open: NFS, FUSE, SMB. It is theirs.
_LEFTOVERS = (".nfs", ".fuse_hidden", ".__smb")
_FICLONE = 0x40049409  # linux/fs.h: the blocks of another file, shared until one is written to
_NO_CLONES = NOT_OFFERED | {errno.ENOTTY}
_no_clones: set[int] = set()  # devices whose file system has refused that


def commit_new(final: Path, data: bytes) -> bool:
    """Put ``data`` under ``final`` unless something is there; True if this call was the first."""
    with being_written(final) as tmp:
        _write(tmp, data)
        return _first(tmp, final)


def _first(tmp: Path, final: Path) -> bool:
    """Give a whole temporary file its final name, unless something has it: then False."""
    pause("linking", final)
    with _folder(final.parent) as folder:
        try:
            os.link(tmp.name, final.name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if final.exists():
                return False
            _rename(tmp, final, folder)  # without hard links the last writer of equals wins
        _fsync(folder)
    pause("linked", final)
    return True


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A folder, open: whoever exchanges it for a link does not send elsewhere what is made in it.

    ConfigError if it is one of a run, and outside of ``TBSEG_ROOTS``.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check_kept(folder, path)
        yield folder
    finally:
        os.close(folder)


def _rename(tmp: Path, final: Path, folder: int) -> None:
    os.replace(tmp.name, final.name, src_dir_fd=folder, dst_dir_fd=folder)


def commit_link(source: Path, final: Path) -> bool:
    """Put the finished file ``source`` under ``final``, too, unless something is there.

    As a file of its own that shares the blocks, so that damage to one of them spares the other;
    where that cannot be by a hard link, or as a copy. True if this call did it; False also if
    ``source`` is gone.
    """
    with storage_errors(final):
        make_folder(final.parent)
        pause("taking", final)
        try:
            done = _commit_clone(source, final)
            if done is None:
                with _folder(final.parent) as folder:
                    os.link(source, final.name, dst_dir_fd=folder, follow_symlinks=False)
                    _fsync(folder)
                done = True
        except (FileExistsError, FileNotFoundError):
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            done = _commit_copy(source, final)
    if done:
        pause("taken", final)
    return done


def _commit_clone(source: Path, final: Path) -> bool | None:
    """None if the file system shares no blocks."""
    device = final.parent.stat().st_dev
    if device in _no_clones:
        return None
    with _existing(source) as there, being_written(final) as tmp:
        with tmp.open("r+b") as here:
            try:
                fcntl.ioctl(here.fileno(), _FICLONE, there.fileno())
            except OSError as error:
                if error.errno in _NO_CLONES:
                    _no_clones.add(device)
                return None
            _fsync(here.fileno())
        return _first(tmp, final)


def _commit_copy(source: Path, final: Path) -> bool:
    try:
        there = _existing(source)
    except FileNotFoundError:
        return False
    with there, being_written(final) as tmp:
        with tmp.open("r+b") as here:
            shutil.copyfileobj(there, here, 1 << 22)
            here.flush()
            _fsync(here.fileno())
        return _first(tmp, final)


def _existing(path: Path) -> BinaryIO:
    """A file for reading; a link is not followed."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def commit_over(final: Path, data: bytes) -> None:
    """Put ``data`` under ``final`` in the place of what was there."""
    with being_written(final) as tmp:
        _write(tmp, data)
        publish_file(tmp, final)


def publish_file(tmp: Path, final: Path) -> None:
    """Rename a finished temporary file to ``final`` beside it, in the place of what was there."""
    _sync(tmp)
    pause("renaming", final)
    with _folder(final.parent) as folder:
        _rename(tmp, final, folder)
        _fsync(folder)
    pause("renamed", final)


@contextmanager
def temporary(final: Path, mark: str = "") -> Iterator[Path]:
    """A temporary path in the folder of ``final``; what is left there is removed at the end.

    What is written there without a lock has no ``mark`` in its name, and is not swept for a day.
    Its name is new and cannot be guessed: whoever writes there creates it exclusively, so that a
    link put there by somebody else is never followed.
    """
    writer = f"{socket.gethostname()}.{mark}{os.getpid()}.{secrets.token_hex(4)}"
    tmp = final.parent / f".{final.name}.{writer}.tmp"
    with storage_errors(final):
        make_folder(final.parent)
        try:
            yield tmp
        finally:
            tmp.unlink(missing_ok=True)


@contextmanager
def being_written(final: Path) -> Iterator[Path]:
    """An empty file of such a name, which nobody sweeps until the end, or the end of the process.

    Whoever opens it takes it as it is: another file of its name would be without its lock.
    """
    while True:
        with temporary(final, f"{kernel()}.") as tmp:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with _folder(tmp.parent) as folder:
                fd = os.open(tmp.name, flags, 0o666, dir_fd=folder)
            try:
                if hold(fd, tmp):
                    yield tmp
                    return
            finally:
                os.close(fd)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with storage_errors(path), suppress(FileNotFoundError), _folder(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def set_aside(path: Path) -> Path | None:
    """Move a damaged or contradicting file out of the way, keeping it; its new path.

    None if nothing is there: another worker was faster.
    """
    aside = path.with_name(f"{path.name}.set-aside-{secrets.token_hex(4)}")
    with suppress(FileNotFoundError), _folder(path.parent) as folder:
        _rename(path, aside, folder)
        return aside
    return None


def is_leftover(name: str) -> bool:
    """Whether this is a removed file that somebody has still open; the file system removes it."""
    return name.startswith(_LEFTOVERS)


def sweep(folder: Path) -> int:
    """Remove temporary files that nobody writes any more, whoever did; their number."""
    return sum(map(remove_if_abandoned, folder.glob(".*.tmp")))


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut, where the file system can."""
    fd = os.open(path, os.O_RDONLY)
    try:
        _fsync(fd)
    finally:
        os.close(fd)


def _fsync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's words about disks and rights into the project's own errors."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = errno_of(error)
        if isinstance(error, TbsegError) or code is None:
            raise
        kind: type[TbsegError] = ResourceError
        what, found = "the file system failed", os.strerror(code)
        mend = "look after the disk or the mount and give the same command again"
        if code in _FULL:
            what, found = "the disk is full", _left(path)
            mend = "free some space and give the same command again: finished work is kept"
        elif code in (errno.ENOTDIR, errno.EEXIST):
            kind, what = ConfigError, "a file stands where a folder should be"
            mend = "choose another folder, or move that file away"
        elif code in _FORBIDDEN:
            kind, what = ConfigError, "the file or its folder cannot be used"
            mend = "have the rights changed, or choose another run folder"
        raise kind(what, file=path, found=found, mend=mend) from error


def errno_of(error: OSError | RuntimeError) -> int | None:
    """The system's error number; h5py has it in its text only, and not always as an OSError."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = re.search(r"errno = (\d+)", str(error))
    return int(match[1]) if match else None


def free_bytes(path: Path) -> int:
    """Free bytes on the file system that holds ``path``, or will hold it."""
    found = _statvfs(path)
    return 0 if found is None else found.f_bavail * found.f_frsize


def _left(path: Path) -> str:
    """What is free on the file system that holds ``path``: either may run out."""
    found, (mount, kind) = _statvfs(path), mounted(path.parent)
    inodes = f" and {found.f_favail:,} inodes" if found is not None and found.f_files else ""
    return f"{free_bytes(path):,} bytes{inodes} free on {mount} ({kind})"


def _statvfs(path: Path) -> os.statvfs_result | None:
    while not path.exists() and path != path.parent:
        path = path.parent
    with suppress(OSError):
        return os.statvfs(path)
    return None


def _write(tmp: Path, data: bytes) -> None:
    pause("writing", tmp)
    fd = os.open(tmp, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        pause("syncing", tmp)
        _fsync(file.fileno())


def pause(point: str, path: Path) -> None:
    """Where fault tests stop a process: ``TBSEG_PAUSE=point:part-of-file-name`` sleeps there."""
    wanted, _, part = (PAUSE.value or "").partition(":")
    if wanted == point and part in path.name:
        if flag := PAUSE_FLAG.value:
            flag.touch()
        time.sleep(3600)
