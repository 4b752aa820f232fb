"""The order of slice files, and what is missing among them.

Order is natural (img_2 before img_10). The *running number* is the last group of digits in the
name (without its extension) that is not the same in all names. It must run from its first to its
last value without a gap and without a duplicate: what a file system lists is no proof that all
slices are there.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from tbseg_ops.errors import InputError

_DIGITS = re.compile(r"([0-9]+)")
_SHOWN = 20


def natural_key(name: str) -> tuple[list[Any], str]:
    """Sorts digits as numbers; names that differ in leading zeros only, by their text."""
    parts = _DIGITS.split(name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def order_slices(names: Iterable[str], where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names in natural order, and warnings.

    InputError for a gap, a duplicate, names with and without numbers side by side, and a running
    number that contradicts the natural order.
    """
    ordered = tuple(sorted(names, key=natural_key))
    if len(ordered) < 2:
        return ordered, ()
    parts = [_DIGITS.split(name.rpartition(".")[0]) for name in ordered]
    numbers = [tuple(int(digits) for digits in part[1::2]) for part in parts]
    _check_one_pattern(ordered, numbers, where)
    texts = [tuple(part[::2]) for part in parts]
    _check_unique(ordered, list(zip(texts, numbers, strict=True)), where)
    varying = [i for i, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if not varying:
        return ordered, (
            f"the {len(ordered)} slice names have no running number: a missing slice cannot be "
            f"noticed ({ordered[0]}, {ordered[1]}, ...)",
        )
    running = [number[varying[-1]] for number in numbers]
    _check_unique(ordered, running, where)
    _check_ascending(ordered, running, where)
    _check_gaps(running, where)
    if len(set(texts)) > 1:
        return ordered, (
            f"the slice names follow {len(set(texts))} patterns, but one running number: "
            f"{ordered[0]} to {ordered[-1]}",
        )
    return ordered, ()


def shortened(names: Sequence[str], shown: int = 5) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def ranges(numbers: Iterable[tuple[int, int]]) -> str:
    """ "3, 7-9": inclusive ranges; at most 20 of them are spelled out."""
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in numbers]
    return shortened(texts, _SHOWN)


def _check_one_pattern(
    names: Sequence[str], numbers: Sequence[tuple[int, ...]], where: str
) -> None:
    for name, number in zip(names, numbers, strict=True):
        if len(number) != len(numbers[0]):
            raise InputError(
                "the slice names do not follow one pattern",
                file=where,
                expected=f"{len(numbers[0])} numbers in the name, as in {names[0]}",
                found=f"{len(number)} in {name}",
                mend="choose the slices with a glob pattern, such as 'folder/img_*.tif'",
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
                mend="choose the slices with a glob pattern, such as 'folder/img_*_ch1.tif'",
            )


def _check_ascending(names: Sequence[str], running: Sequence[int], where: str) -> None:
    for i in range(1, len(running)):
        if running[i] < running[i - 1]:
            raise InputError(
                "the order of the names contradicts their running number",
                file=where,
                expected=f"a number above {running[i - 1]} after {names[i - 1]}",
                found=names[i],
                mend="rename the slices, or link them under names that only differ in one number",
            )


def _check_gaps(running: Sequence[int], where: str) -> None:
    gaps = [(before + 1, after - 1) for before, after in pairwise(running) if after > before + 1]
    if gaps:
        missing = sum(b - a + 1 for a, b in gaps)
        raise InputError(
            "slices are missing",
            file=where,
            expected=f"the running numbers {running[0]} to {running[-1]}",
            found=f"{missing} missing: {ranges(gaps)}",
            mend="restore them, or link the slices to be used under names numbered without a gap",
        )
