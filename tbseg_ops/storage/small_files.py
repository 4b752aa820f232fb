"""Reading the small files of a registry and of a runs folder, whoever put them there."""

import errno
import os
import stat
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.storage.commit import storage_errors

_MOST_BYTES = 256 * 1024


def read_small(path: Path) -> bytes | None:
    """The bytes of a regular file of at most 256 KiB; None if nothing is there.

    ConfigError for a symbolic link (it may lead anywhere), a folder, a device, a longer file.
    """
    with storage_errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise _odd(path, "a symbolic link or a socket") from None
            raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _odd(path, "a folder, a FIFO or a device")
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(_MOST_BYTES + 1)
        finally:
            os.close(fd)
    if len(data) > _MOST_BYTES:
        raise _odd(path, f"more than {_MOST_BYTES} bytes")
    return data


def _odd(path: Path, found: str) -> ConfigError:
    return ConfigError(
        "this is not a file of tbseg",
        file=path,
        expected=f"a regular file of at most {_MOST_BYTES} bytes",
        found=found,
        mend="remove it",
    )
