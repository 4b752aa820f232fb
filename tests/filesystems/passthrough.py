"""A real file system (FUSE) that hands everything on to a folder, but for how it behaves.

    python -m tests.filesystems.passthrough FOLDER MOUNT '{"always": {"link": 95}, "late": 5}'

``always``: operation -> number of the error that it gives. ``nth``: operation -> [n, error]: only
its n-th call. ``caseless``: names that differ by case only are one. ``late``: seconds for which it
goes on to give the names and attributes (also that there are none) that it has given once, as
caches of network file systems do; what is written by this mount it knows, and a file that is
opened has its attributes asked for anew. ``restart``: at that read, all that is open becomes stale.
``calls``: a file that gets the number of reads. It runs until it is unmounted.
"""

import errno
import fcntl
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mfusepy

_STAT = ("st_gid", "st_mode", "st_nlink", "st_size", "st_uid")
_TIMES = ("st_atime", "st_ctime", "st_mtime")
_FS = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize")


def _attributes(status: os.stat_result) -> dict[str, Any]:
    found = {name: getattr(status, name) for name in _STAT}
    return found | {name: getattr(status, f"{name}_ns") for name in _TIMES}


class _Cache:
    """What was asked of the folder in the last ``seconds``, errors included."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._known: dict[tuple[str, str], tuple[float, Any]] = {}

    def get(self, what: str, path: str, ask: Callable[[], Any]) -> Any:
        asked, answer = self._known.get((what, path), (-self._seconds, None))
        if time.monotonic() - asked >= self._seconds:
            try:
                answer = ask()
            except OSError as error:
                answer = error
            self._known[what, path] = time.monotonic(), answer
        if isinstance(answer, OSError):
            raise OSError(answer.errno, answer.strerror)
        return answer

    def forget_attributes(self, path: str) -> None:
        self._known.pop(("attributes", path), None)

    def forget(self, *paths: str) -> None:
        """Of these and of the folders that they are in; asked after a change of them."""
        for path in paths:
            for key in (path, os.path.dirname(path)):
                self._known.pop(("names", key), None)
                self._known.pop(("attributes", key), None)


class Passthrough(mfusepy.Operations):  # type: ignore[misc]
    use_ns = True

    def __init__(self, root: str, behaviour: dict[str, Any]) -> None:
        self._root, self._always = root, behaviour.get("always", {})
        self._nth, self._calls = behaviour.get("nth", {}), Counter[str]()
        self._cache = _Cache(behaviour.get("late", 0))
        self._restart, self._stale, self._open = behaviour.get("restart"), set[int](), set[int]()
        self._lock = threading.Lock()
        self._counts = behaviour.get("calls")
        self._caseless = behaviour.get("caseless", False)

    def _check(self, operation: str) -> None:
        self._calls[operation] += 1
        number = self._always.get(operation)
        if self._calls[operation] == self._nth.get(operation, [0])[0]:
            number = self._nth[operation][1]
        if number:
            raise mfusepy.FuseOSError(number)

    def _there(self, path: str) -> str:
        found = self._root
        if not self._caseless:
            return found + path
        for part in path.strip("/").split("/"):
            names = os.listdir(found) if os.path.isdir(found) else []
            found += "/" + next((n for n in names if n.casefold() == part.casefold()), part)
        return found

    def access(self, path: str, amode: int) -> int:
        if not os.access(self._there(path), amode):
            raise mfusepy.FuseOSError(errno.EACCES)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._there(path), mode)
        self._cache.forget(path)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._check("create")
        found = os.open(self._there(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        self._cache.forget(path)
        return found

    def flock(self, path: str, fh: int, op: int) -> int:
        self._check("flock")
        fcntl.flock(fh, op)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._check("fsync")
        os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._check("fsyncdir")
        return 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._check("getattr")
        there = self._there(path)
        found: dict[str, Any] = self._cache.get(
            "attributes", path, lambda: _attributes(os.lstat(there))
        )
        return found

    def link(self, target: str, source: str) -> int:
        self._check("link")
        os.link(self._there(source), self._there(target))
        self._cache.forget(target, source)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._check("mkdir")
        os.mkdir(self._there(path), mode)
        self._cache.forget(path)
        return 0

    def open(self, path: str, flags: int) -> int:
        self._check("open")
        found = os.open(self._there(path), flags)
        self._open.add(found)
        self._cache.forget_attributes(path)
        return found

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._check("read")
        if self._counts:
            Path(self._counts).write_text(str(self._calls["read"]))
        if self._calls["read"] == self._restart:
            with self._lock:
                self._stale = set(self._open)
        if fh in self._stale:
            raise mfusepy.FuseOSError(errno.ESTALE)
        return os.pread(fh, size, offset)

    def readdir(self, path: str, fh: int) -> list[str]:
        names = self._cache.get("names", path, lambda: os.listdir(self._there(path)))
        return [".", "..", *names]

    def readlink(self, path: str) -> str:
        return os.readlink(self._there(path))

    def release(self, path: str, fh: int) -> int:
        with self._lock:
            self._open.discard(fh)
            self._stale.discard(fh)
        os.close(fh)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._check("rename")
        os.rename(self._there(old), self._there(new))
        self._cache.forget(old, new)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._there(path))
        self._cache.forget(path)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._there(path))
        return {name: getattr(found, name) for name in _FS}

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._check("truncate")
        os.truncate(self._there(path), length)
        self._cache.forget(path)
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._there(path))
        self._cache.forget(path)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._there(path), ns=times)
        self._cache.forget(path)
        return 0

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._check("write")
        found = os.pwrite(fh, data, offset)
        self._cache.forget(path)
        return found


if __name__ == "__main__":
    mfusepy.FUSE(
        Passthrough(sys.argv[1], json.loads(sys.argv[3])),
        sys.argv[2],
        foreground=True,
        attr_timeout=0,
        entry_timeout=0,
        negative_timeout=0,
    )
