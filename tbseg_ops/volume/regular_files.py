"""Opening files of unknown origin: regular files only, and errors that carry their class."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tbseg_ops.errors import InputError, ResourceError, TbsegError
from tbseg_ops.settings import check_inside

# These say something about what was asked for; every other errno (EIO, ESTALE, EMFILE, ...) is the
# machine's and may be gone at the next attempt.
_WRONG_INPUT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
}


@contextmanager
def system_errors(file: str) -> Iterator[None]:
    """OSError inside becomes InputError or ResourceError naming ``file``, by its errno."""
    try:
        yield
    except TbsegError:
        raise
    except OSError as error:
        raise from_system(error, file) from error
    except ValueError as error:  # a NUL character in the path
        raise InputError("this is not a path", file=file, found=str(error)) from error


def from_system(error: OSError, file: str) -> TbsegError:
    """The project's error for an OSError with an errno."""
    found = error.strerror or str(error)
    if error.errno in _WRONG_INPUT:
        return InputError("the file cannot be opened", file=file, found=found)
    return ResourceError("the file cannot be read", file=file, found=found)


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
            return os.fdopen(descriptor, "rb")
        except BaseException:
            os.close(descriptor)
            raise


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
