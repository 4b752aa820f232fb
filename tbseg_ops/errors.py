"""Every error that tbseg raises on purpose, and the exit code that carries its class home.

    TbsegError          70  a defect of tbseg itself when raised bare
    +-- InputError      65  what was given is wrong; the same call can only fail again
    +-- ConfigError     78  a setting or an installed program is wrong or missing
    +-- ResourceError   75  disk, memory, a host or a child process failed; worth another try
    +-- IntegrityError  74  something that was written is damaged or contradicts itself
    +-- CalledOffError 130  somebody has called the run off

The codes are those of BSD's sysexits.h: shells, SSH clients and pods carry them unchanged.
"""

from pathlib import Path
from typing import ClassVar


class TbsegError(Exception):
    """An error that says what, where, expected, found and the mend.

    ``what`` is one sentence. The keywords become one line each of the message, in the order of the
    signature; those that are None are left out.
    """

    exit_code: ClassVar[int] = 70

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
        lines = [self.what]
        for name in ("file", "tile", "expected", "found", "mend"):
            value = getattr(self, name)
            if value is not None:
                lines.append(f"  {name}: {printable(str(value))}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (worker pools, MPI): keep the keywords when pickled.
        return _rebuild, (
            type(self),
            self.what,
            {k: getattr(self, k) for k in ("file", "tile", "expected", "found", "mend")},
        )


class InputError(TbsegError, ValueError):
    """What was given is wrong: never retried."""

    exit_code = 65


class ConfigError(TbsegError, ValueError):
    """A setting, or a program that should be installed, is wrong or missing: never retried."""

    exit_code = 78


class ResourceError(TbsegError, OSError):
    """Disk, memory, a host or a child process failed: retried."""

    exit_code = 75


class IntegrityError(TbsegError, RuntimeError):
    """Something that was written is damaged or contradicts itself: set aside and recomputed."""

    exit_code = 74


class CalledOffError(TbsegError):
    """Somebody has called the run off: not retried."""

    exit_code = 130


def printable(text: str) -> str:
    """``text`` with control characters and lone surrogates escaped: names are hostile."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _rebuild(cls: type[TbsegError], what: str, keywords: dict[str, object]) -> TbsegError:
    return cls(what, **keywords)  # type: ignore[arg-type]
