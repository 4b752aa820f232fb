"""Which pattern chooses the slices that are meant, where the names alone do not do it."""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tbseg_ops.reference import NUMBER, is_pattern

LIST = "write the paths of the slices to be used in a list (slices.txt), a path a line, and give it"
"""What always works."""

_DIGITS = re.compile(r"([0-9]+)")
_MOST_CHANNELS = 20


def slices_by_pattern(names: Sequence[str], where: str) -> str:
    """What chooses the names of the most frequent kind, if a pattern can.

    ``where``: the folder of the names, or the pattern that they are from.
    """
    kinds = [tuple(_parts(name)[::2]) for name in names]
    texts, count = Counter(kinds).most_common(1)[0]
    suffix = Path(names[kinds.index(texts)]).suffix
    pattern = f"{texts[0]}*{texts[-1]}{suffix}"
    if len(fnmatch.filter(names, pattern)) > count:
        return LIST
    return f"choose the slices with a pattern, such as '{_folder(where) / pattern}'"


def channels_by_pattern(names: Sequence[str], where: str) -> str:
    """What tells channels in one folder apart: the number with the most values is that of z."""
    columns = [] if NUMBER in where else _columns(names)
    place = max(range(len(columns)), key=lambda i: len(columns[i]), default=None)
    patterns = [] if place is None else [_pattern(name, where, place) for name in names]
    one, *others = dict.fromkeys(patterns) or [""]
    if not 0 < len(others) < _MOST_CHANNELS:
        return f"choose one of each by the pattern, or {LIST}"
    return (
        f"are they channels? Choose one with a pattern, such as {one}, and the others with"
        f" --channels-from, such as {others[0]}"
    )


def number_by_pattern(names: Sequence[str], where: str) -> str:
    """What says which number is that of the slice, if it is not the last one that varies."""
    columns = _columns(names)
    varying = [i for i, column in enumerate(columns) if len(column) > 1]
    for place in reversed(varying[:-1]):
        if len(columns[place]) == len(names):
            pattern = _pattern(names[0], where, place, [i for i in varying if i != place])
            return f"say where the number of the slice stands: {pattern}"
    return LIST


def _pattern(name: str, where: str, place: int, unlike: Iterable[int] = ()) -> str:
    """A name with any number in ``place``, and anything for the numbers that are ``unlike``."""
    parts = _parts(name)
    for i in unlike:
        parts[2 * i + 1] = "*"
    parts[2 * place + 1] = NUMBER
    return f"'{_folder(where) / ''.join(parts)}{Path(name).suffix}'"


def _columns(names: Sequence[str]) -> list[set[int]]:
    """The values of each of the numbers in the names, which have as many."""
    numbers = (map(int, _parts(name)[1::2]) for name in names)
    return list(map(set, zip(*numbers, strict=True)))


def _parts(name: str) -> list[str]:
    """The texts of a name without its extension, and between them the numbers."""
    return _DIGITS.split(name.rpartition(".")[0])


def _folder(where: str) -> Path:
    """The folder that names are in."""
    path = Path(where)
    return path.parent if is_pattern(where) and not path.is_dir() else path
