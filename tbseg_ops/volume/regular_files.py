"""Opening files of unknown origin: regular files only, and errors that carry their class."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from tbseg_ops.errors import InputError, system_errors
from tbseg_ops.settings import check_inside, check_opened


def open_regular(path: str) -> BinaryIO:
    """Opens a regular file, or a symbolic link to one, for reading bytes.

    Folders, FIFOs, sockets and devices are InputError: they are never opened in a way that waits
    (O_NONBLOCK), and what was opened is looked at again, so that swapping the path in between
    gains nothing. ConfigError outside of ``TBSEG_ROOTS``.
    """
    with system_errors(path):
        check_inside(path)
        _check_regular(Path(path).stat().st_mode, path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_regular(os.fstat(descriptor).st_mode, path)
            check_opened(descriptor, path)
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise


def open_unchanged(path: str, size: int | None, what: str = "file") -> BinaryIO:
    """``open_regular``, and InputError if it has not the ``size`` that an audit found, if any did.

    ``what`` the file holds, for the message.
    """
    file = open_regular(path)
    if size not in (None, found := size_of(file)):
        file.close()
        raise changed_since_audit(what, path, f"{size} bytes", f"{found} bytes")
    return file


def changed_since_audit(what: str, path: str, expected: object, found: object) -> InputError:
    """The error for what is not as an audit found it."""
    return InputError(
        f"the {what} has changed since the audit",
        file=path,
        expected=expected,
        found=found,
        mend="start again with 'tbseg plan'",
    )


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def _check_regular(mode: int, path: str) -> None:
    if not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFDIR: "a folder",
            stat.S_IFIFO: "a FIFO",
            stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a device",
            stat.S_IFBLK: "a device",
        }
        found = kinds.get(stat.S_IFMT(mode), "something else")
        raise InputError("not a regular file", file=path, expected="a regular file", found=found)
