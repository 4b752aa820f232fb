"""What may happen to a file while nobody looks."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path, float], None]


def flip(path: Path, where: float) -> None:
    """One bit, at that share of the file's length; in place, so in all links of it."""
    with path.open("r+b") as file:
        at, bit = divmod(int(where * 8 * path.stat().st_size), 8)
        file.seek(at)
        byte = file.read(1)
        if byte:
            file.seek(at)
            file.write(bytes([byte[0] ^ 1 << bit]))


def truncate(path: Path, where: float) -> None:
    os.truncate(path, int(where * path.stat().st_size))


def empty(path: Path, where: float) -> None:
    path.write_bytes(b"")


def remove(path: Path, where: float) -> None:
    path.unlink()


HARMS: dict[str, Harm] = {"flip": flip, "truncate": truncate, "empty": empty, "remove": remove}
"""By what they do to a file; ``where``: a share of its length, at least 0 and below 1."""


def exchange(one: Path, two: Path) -> None:
    spare = one.with_name(f"{one.name}.spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def replace(path: Path, other: Path) -> None:
    """By a copy of another file."""
    path.unlink()
    shutil.copy(other, path)
