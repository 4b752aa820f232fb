"""Every error that tbseg raises on purpose, and how it comes home from a process of its own.

    TbsegError          70  a defect of tbseg itself when raised bare
    +-- UsageError       2  the command line is wrong
    +-- InputError      65  what was given is wrong; the same call can only fail again
    +-- ConfigError     78  a setting or an installed program is wrong or missing
    +-- ResourceError   75  disk, memory, a host or a child process failed; worth another try
    +-- IntegrityError  74  something that was written is damaged or contradicts itself
    +-- CalledOffError 130  somebody has called the run off

The codes are those of BSD's sysexits.h: shells, SSH clients and pods carry them unchanged. Whoever
gives ``--json`` gets the whole error, too, as one JSON object (``TbsegError.to_json``).
"""

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

KEYWORDS = ("file", "tile", "expected", "found", "mend")


class TbsegError(Exception):
    """An error that says what, where, expected, found and the mend.

    ``what`` is one sentence. The keywords become one line each of the message, in the order of the
    signature; those that are None are left out. ``retried``: whether the same call may succeed
    another time.
    """

    exit_code: ClassVar[int] = 70
    retried: ClassVar[bool] = False

    def __init__(
        self,
        what: str,
        *,
        file: str | Path | None = None,
        tile: str | None = None,
        expected: object = None,
        found: object = None,
        mend: str | None = None,
    ) -> None:
        self.what = what
        self.file = None if file is None else str(file)
        self.tile = tile
        self.expected = expected
        self.found = found
        self.mend = mend
        super().__init__(what)

    def __str__(self) -> str:
        return message(self.what, self._keywords())

    def to_json(self) -> str:
        """One line: {"error": {"class", "what", the keywords that are not None, "retried"}}."""
        keywords = {name: str(value) for name, value in self._keywords().items()}
        found = {"class": type(self).__name__, "what": self.what, **keywords}
        return json.dumps({"error": {**found, "retried": self.retried}})

    def _keywords(self) -> dict[str, object]:
        values = {name: getattr(self, name) for name in KEYWORDS}
        return {name: value for name, value in values.items() if value is not None}

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (worker pools, MPI): keep the keywords when pickled.
        return _rebuild, (type(self), self.what, self._keywords())


class UsageError(TbsegError):
    """The command line is wrong: never retried."""

    exit_code = 2


class InputError(TbsegError, ValueError):
    """What was given is wrong: never retried."""

    exit_code = 65


class ConfigError(TbsegError, ValueError):
    """A setting, or a program that should be installed, is wrong or missing: never retried."""

    exit_code = 78


class ResourceError(TbsegError, OSError):
    """Disk, memory, a host or a child process failed: retried."""

    exit_code = 75
    retried = True


class IntegrityError(TbsegError, RuntimeError):
    """Something that was written is damaged or contradicts itself: set aside and recomputed."""

    exit_code = 74
    retried = True


class CalledOffError(TbsegError):
    """Somebody has called the run off: not retried."""

    exit_code = 130


def class_of(exit_code: int) -> type[TbsegError] | None:
    """The class of the error with which a command ended, where nothing but its code is known."""
    return next((kind for kind in _kinds() if kind.exit_code == exit_code), None)


def retried_codes() -> list[int]:
    """The exit codes of commands that may succeed when given once more."""
    return sorted(kind.exit_code for kind in _kinds() if kind.retried)


def _kinds() -> list[type[TbsegError]]:
    return [TbsegError, *TbsegError.__subclasses__()]


def message(what: str, keywords: Mapping[str, object]) -> str:
    """``what``, and a line for each keyword; a value that a blank begins or ends is in quotes."""
    texts = {k: printable(str(v)) for k, v in keywords.items()}
    shown = {k: text if text == text.strip() else f"'{text}'" for k, text in texts.items()}
    return "\n".join([what, *(f"  {k}: {text}" for k, text in shown.items())])


def printable(text: str) -> str:
    """``text`` with control characters and lone surrogates escaped: names are hostile."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _rebuild(cls: type[TbsegError], what: str, keywords: dict[str, object]) -> TbsegError:
    return cls(what, **keywords)  # type: ignore[arg-type]


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
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        mend = "put it back, or correct the path; a run is planned again without it (tbseg plan)"
    elif error.errno in (errno.EACCES, errno.EPERM):
        mend = "have the right to read it given to you (chmod, chgrp), or copy it"
    else:
        mend = "give the path of a file"
    if error.errno in _WRONG_INPUT:
        return InputError("the file cannot be opened", file=file, found=found, mend=mend)
    again = "look after the disk or the mount, and give the same command again"
    return ResourceError("the file cannot be read", file=file, found=found, mend=again)
