"""The order of slice files, and what is missing among them.

Order is natural (img_2 before img_10). The *running number* is the last group of digits in the
name (without its extension) that is not the same in all names. It must run from its first to its
last value without a gap and without a duplicate, by one step: what a file system lists is no proof
that all slices are there.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path
from typing import Any

from tbseg_ops.errors import InputError
from tbseg_ops.reference import NUMBER
from tbseg_ops.volume.patterns import (
    LIST,
    channels_by_pattern,
    number_by_pattern,
    slices_by_pattern,
)

_DIGITS = re.compile(r"([0-9]+)")
_SHOWN = 20


def natural_key(name: str) -> tuple[list[Any], str]:
    """Sorts digits as numbers; names that differ in leading zeros only, by their text."""
    parts = _DIGITS.split(name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


@dataclass(frozen=True, slots=True)
class _Name:
    """A name taken apart: ``texts`` has one more than ``numbers``, which stand between them."""

    name: str
    texts: tuple[str, ...]
    numbers: tuple[int, ...]

    @property
    def key(self) -> tuple[list[Any], list[Any]]:
        pairs = zip(self.texts, (*self.numbers, 0), strict=True)
        return [part for pair in pairs for part in pair], natural_key(self.name)[0]


def order_slices(
    names: Iterable[str], where: str, folder: str = ""
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names in natural order, and warnings; ``where``: the folder or pattern they are from.

    With the place of the number in the pattern (``brain_{z}.tif``), in the order of that number;
    the names are then relative to ``folder``, and those without it are left out, with a warning.

    A "-" that only some names have in front of a number is its sign; "1.5" is one number where all
    have as many decimals. InputError for a gap, a duplicate, names with and without numbers side by
    side, and a running number that contradicts the natural order.
    """
    if NUMBER in where:
        return _by_given_place(names, where, folder)
    given = tuple(sorted(names, key=natural_key))
    if len(given) < 2:
        return given, ()
    parts = [_DIGITS.split(name.rpartition(".")[0]) for name in given]
    _check_one_pattern(given, parts, where)
    taken = _taken_apart(given, parts)
    ordered = tuple(each.name for each in taken)
    _check_unique(ordered, [(each.texts, each.numbers) for each in taken], where)
    numbers = [each.numbers for each in taken]
    varying = [i for i, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if not varying:
        return ordered, (
            f"the {len(ordered)} slice names have no running number: a missing slice cannot be "
            f"noticed ({ordered[0]}, {ordered[1]}, ...)",
        )
    running = [number[varying[-1]] for number in numbers]
    _check_unique(ordered, running, where)
    _check_ascending(ordered, running, where)
    step = _step(running)
    _check_gaps(running, step, where)
    notes = []
    if step > 1:
        notes.append(f"the running number of the slices goes up in steps of {step}")
    if all(each.texts[varying[-1]].endswith(("z-", "_-", "=-")) for each in taken):
        notes.append(
            f'the "-" in front of each number is taken for a dash, so {ordered[0]} is z = 0; if it '
            "is a sign, give --order reversed"
        )
    patterns = len({each.texts for each in taken})
    if patterns > 1:
        notes.append(
            f"the slice names follow {patterns} patterns, but one running number: "
            f"{ordered[0]} to {ordered[-1]}"
        )
    return ordered, tuple(notes)


def _by_given_place(
    names: Iterable[str], pattern: str, folder: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names by the number that stands where the pattern has ``{z}``."""
    before, _, after = (_regular(part) for part in pattern.partition(NUMBER))
    place = re.compile(f"{before}(?<![0-9])([+-]?[0-9]+(?:[.][0-9]+)?)(?![0-9]){after}", re.DOTALL)
    found = {name: place.fullmatch(str(Path(folder) / name)) for name in names}
    numbers = {name: Fraction(match[1]) for name, match in found.items() if match}
    ordered = tuple(sorted(numbers, key=lambda name: (numbers[name], natural_key(name))))
    if not ordered:
        raise InputError(
            "no name has a number in the place of {z}",
            file=pattern,
            expected="names such as " + pattern.replace(NUMBER, "0012"),
            found=shortened(sorted(found)),
            mend="put {z} where the number of the slice stands in the names",
        )
    parts = lcm(*(number.denominator for number in numbers.values()))  # of decimals
    running = [int(numbers[name] * parts) for name in ordered]
    _check_unique(ordered, running, pattern)
    notes = []
    if left := sorted(set(found) - set(ordered), key=natural_key):
        told = f"{len(left)} names have no number in the place of {{z}} and are ignored"
        notes.append(f"{told}: {shortened(left)}")
    if len(ordered) > 1:
        step = _step(running)
        _check_gaps(running, step, pattern)
        if step > 1:
            notes.append(f"the running number of the slices goes up in steps of {step / parts:g}")
    return ordered, tuple(notes)


def _regular(text: str) -> str:
    """A part of a pattern as a regular expression; "[" has no meaning beside ``{z}``."""
    return re.escape(text).replace(r"\*", ".*?").replace(r"\?", ".")


def _taken_apart(names: Sequence[str], parts: list[list[str]]) -> list[_Name]:
    """The names in their order, with signs and decimals in their numbers."""
    texts = [list(part[::2]) for part in parts]
    digits = [list(part[1::2]) for part in parts]
    for i in reversed(range(1, len(digits[0]))):
        if {t[i] for t in texts} == {"."} and len({len(d[i]) for d in digits}) == 1:
            for t, d in zip(texts, digits, strict=True):
                t.pop(i)
                d[i - 1] += d.pop(i)
    numbers = [[int(digit) for digit in d] for d in digits]
    for i in range(len(digits[0])):
        before = {t[i] for t in texts}
        if len(before) == 2 and len({text.removesuffix("-") for text in before}) == 1:
            for t, n in zip(texts, numbers, strict=True):
                if t[i].endswith("-"):
                    t[i], n[i] = t[i].removesuffix("-"), -n[i]
    made = zip(names, map(tuple, texts), map(tuple, numbers), strict=True)
    return sorted((_Name(*each) for each in made), key=lambda each: each.key)


def _step(running: Sequence[int]) -> int:
    """By which the running number goes up: above 1 if all differences are multiples of the least.

    And most of them are just that: every other slice is missing is what it looks like otherwise.
    """
    differences = [after - before for before, after in pairwise(running)]
    least = min(differences)
    regular = len(differences) > 1 and not any(d % least for d in differences)
    return least if regular and differences.count(least) * 2 > len(differences) else 1


def shortened(names: Sequence[str], shown: int = 5) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def ranges(numbers: Iterable[tuple[int, int]]) -> str:
    """ "3, 7-9": inclusive ranges; at most 20 of them are spelled out."""
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in numbers]
    return shortened(texts, _SHOWN)


def _check_one_pattern(names: Sequence[str], parts: Sequence[list[str]], where: str) -> None:
    for name, part in zip(names, parts, strict=True):
        if len(part) != len(parts[0]):
            raise InputError(
                "the slice names do not follow one pattern",
                file=where,
                expected=f"{len(parts[0]) // 2} numbers in the name, as in {names[0]}",
                found=f"{len(part) // 2} in {name}",
                mend=slices_by_pattern(names, where),
            )


def _check_unique(names: Sequence[str], keys: Sequence[Any], where: str) -> None:
    by_key = defaultdict(list)
    for name, key in zip(names, keys, strict=True):
        by_key[key].append(name)
    for same in by_key.values():
        if len(same) > 1:
            doubles = sum(len(found) > 1 for found in by_key.values())
            raise InputError(
                "duplicate slices: several files have the same running number",
                file=where,
                expected="one file for each running number (the last number that varies)",
                found=f"{shortened(same)} ({doubles} numbers are used more than once)",
                mend=channels_by_pattern(names, where),
            )


def _check_ascending(names: Sequence[str], running: Sequence[int], where: str) -> None:
    for i in range(1, len(running)):
        if running[i] < running[i - 1]:
            raise InputError(
                "the order of the names contradicts their running number",
                file=where,
                expected=f"a number above {running[i - 1]} after {names[i - 1]}",
                found=names[i],
                mend=number_by_pattern(names, where),
            )


def _check_gaps(running: Sequence[int], step: int, where: str) -> None:
    gaps = [(a + step, b - step) for a, b in pairwise(running) if b > a + step]
    if gaps:
        missing = sum((b - a) // step + 1 for a, b in gaps)
        steps = f" in steps of {step}" if step > 1 else ""
        raise InputError(
            "slices are missing",
            file=where,
            expected=f"the running numbers {running[0]} to {running[-1]}{steps}",
            found=f"{missing} missing: {ranges(gaps)}",
            mend=f"restore them, or {LIST}",
        )
