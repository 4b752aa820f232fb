"""What does the file system of a folder offer? Each thing tried, with the option that mends it."""

import errno
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tbseg_ops.errors import TbsegError
from tbseg_ops.storage.commit import commit_new, errno_of, temporary
from tbseg_ops.storage.offered import NOT_OFFERED
from tbseg_ops.storage.place import LOCKS_DO_NOT_HOLD, check_place

_DATA = b"tbseg"


@dataclass(frozen=True)
class Trial:
    """One thing that was tried. ``needed``: a run cannot do without it; ``mend``, if it is lacking:
    what to have changed."""

    name: str
    works: bool
    found: str
    needed: bool = False
    mend: str | None = None


def trials(folder: Path) -> list[Trial]:
    """Tries all that runs use of the file system of ``folder``; leaves nothing behind."""
    return [
        _place(folder),
        _tried(folder, "hard links", _link, "without them pieces of earlier runs are copied"),
        _tried(folder, "fsync of a file", _sync_file, _POWER_CUT),
        _tried(folder, "fsync of a folder", _sync_folder, _POWER_CUT),
        _tried(folder, "mmap", _map, "FUSE: mount it without direct_io; CIFS: with cache=strict"),
        _tried(folder, "case of names", _case, "nothing to mend: names of tbseg never differ so"),
    ]


_POWER_CUT = "nothing to mend: after a power cut what is missing is made anew"


def _place(folder: Path) -> Trial:
    """Writing, renaming over a file, and locks: what a run needs."""
    name = "write, rename, lock"
    try:
        found = check_place(folder)
    except TbsegError as error:
        said = error.what if error.found is None else f"{error.what}: {error.found}"
        return Trial(name, False, said, needed=True, mend=error.mend)
    if LOCKS_DO_NOT_HOLD in found:
        mend = "do not plan one run from two machines at once; NFS: -o local_lock=none"
        return Trial(name, False, LOCKS_DO_NOT_HOLD, mend=mend)
    return Trial(name, True, "work")


def _tried(folder: Path, name: str, attempt: Callable[[Path], str | None], mend: str) -> Trial:
    """``attempt`` gets a file; it gives what is lacking, or raises what the system says."""
    try:
        with temporary(folder / "trial") as file:
            commit_new(file, _DATA)
            lacking = attempt(file)
    except (OSError, TbsegError) as error:
        number = errno_of(error) if isinstance(error, OSError) else None
        said = getattr(error, "found", None) or str(error)
        if number is not None:
            said = f"{errno.errorcode.get(number, number)}, {os.strerror(number)}"
        offered = "" if number in NOT_OFFERED else "failed: "
        return Trial(name, False, f"{offered}{said}", mend=mend)
    return Trial(name, lacking is None, lacking or "work" + "s" * (name == "mmap"), mend=mend)


def _link(file: Path) -> str | None:
    with temporary(file) as other:
        other.hardlink_to(file)
        return None if other.read_bytes() == _DATA else "a link reads as another file"


def _sync_file(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(file: Path) -> None:
    descriptor = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _map(file: Path) -> str | None:
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        return None if mapped[:] == _DATA else "other bytes than were written"


def _case(file: Path) -> str | None:
    same = file.with_name(file.name.upper()).exists()
    return "names that differ by case only are one" if same else None
