"""Reading small files of a registry, of a runs folder and of a run, whoever put them there."""

import errno
import os
import stat
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.settings import check_inside, check_kept, check_opened
from tbseg_ops.storage.commit import storage_errors

_MOST_BYTES = 256 * 1024


def read_small(path: Path, most: int = _MOST_BYTES) -> bytes | None:
    """The bytes of a regular file of at most ``most``; None if nothing is there.

    ConfigError for a symbolic link (it may lead anywhere), a folder, a device, a longer file; or if
    its folder is one of a run, and leads out of ``TBSEG_ROOTS``.
    """
    with storage_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise _odd(path, "a symbolic link or a socket", most) from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _odd(path, "a folder, a FIFO or a device", most)
            check_kept(fd, path)
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(most + 1)
        finally:
            os.close(fd)
    if len(data) > most:
        raise _odd(path, f"more than {most} bytes", most)
    return data


def read_at_most(path: str, most: int) -> bytes | None:
    """The bytes of a file, be it a link; None if it is no regular file, or a longer one.

    ConfigError if it lies outside of ``TBSEG_ROOTS``.
    """
    check_inside(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        check_opened(fd, path)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            return None
        data = file.read(most + 1)
        return data if len(data) <= most else None


def read_inside(path: Path) -> bytes:
    """The bytes of a file, be it a link; ConfigError if that leads out of ``TBSEG_ROOTS``."""
    with path.open("rb") as file:
        check_opened(file.fileno(), path)
        return file.read()


def _odd(path: Path, found: str, most: int) -> ConfigError:
    return ConfigError(
        "this is not a file of tbseg",
        file=path,
        expected=f"a regular file of at most {most} bytes",
        found=found,
        mend="remove it",
    )
