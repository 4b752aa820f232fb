"""A volume as several TIFF files of many pages each, one behind the other in z.

Programs cut a stack where a file would be larger than 4 GB: brain.tif, brain_1.tif, brain_2.tif.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tbseg_ops.errors import InputError
from tbseg_ops.reference import TIFF_SUFFIXES
from tbseg_ops.volume.order import natural_key, shortened
from tbseg_ops.volume.pages import PagesSource
from tbseg_ops.volume.regular_files import open_regular, size_of
from tbseg_ops.volume.source import Slices, Source, VolumeInfo, check_range
from tbseg_ops.volume.tiff.ifd_chain import page_offsets

_NUMBERED = re.compile(r"(.*?)[-_. ]?(\d*)")


class PartsSource(Source):
    """The parts, audited; all of one shape and type, without the same page twice."""

    def __init__(
        self,
        folder: str,
        names: Sequence[str],
        *,
        time: int | None = None,
        as_mask: bool = False,
    ) -> None:
        """``names``: relative to ``folder``, in z order; ``time``: of the time points of each."""
        with ExitStack() as stack:
            paths = [str(Path(folder) / name) for name in names]
            self._parts = [PagesSource(path, time=time, as_mask=as_mask) for path in paths]
            for part in self._parts:
                stack.enter_context(part)
            first = self._parts[0].info
            for part, path in zip(self._parts, paths, strict=True):
                found = part.info
                if _form(first) != _form(found):
                    raise InputError(
                        "the parts of the stack differ",
                        file=path,
                        expected=_form(first),
                        found=_form(found),
                        mend="choose the parts with a glob pattern",
                    )
            stack.pop_all()
        depths = [part.info.shape[0] for part in self._parts]
        self._ends = [*accumulate(depths)]
        self.info = first.model_copy(update={"shape": (self._ends[-1], *first.shape[1:])})
        self.slices = tuple(name for part in self._parts for name in part.slices)
        notes = dict.fromkeys(text for part in self._parts for text in part.warnings)
        self.warnings = (
            f"{len(names)} files of many pages are taken as one stack: {names[0]} to {names[-1]}",
            *notes,
        )

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``."""
        check_range(z0, z1, self._ends[-1])
        found = []
        for part, begin, low, high in self._within(z0, z1):
            there = None if planned is None else planned[begin : begin + part.info.shape[0]]
            found.append(part.read(low, high, there))
        return Slices(
            np.concatenate([each.array for each in found]),
            tuple(print_ for each in found for print_ in each.fingerprints),
        )

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """See ``Source.fingerprints``."""
        check_range(z0, z1, self._ends[-1])
        return tuple(
            print_
            for part, _, low, high in self._within(z0, z1)
            for print_ in part.fingerprints(low, high)
        )

    def _within(self, z0: int, z1: int) -> list[tuple[PagesSource, int, int, int]]:
        """The parts of a range: each with its first z, and the range in it."""
        begins = [0, *self._ends[:-1]]
        return [
            (part, begin, max(z0, begin) - begin, min(z1, end) - begin)
            for part, begin, end in zip(self._parts, begins, self._ends, strict=True)
            if begin < z1 and z0 < end
        ]


def _form(info: VolumeInfo) -> str:
    return f"{info.shape[1:]} (y, x), {info.channels} channels, {info.dtype}"


def parts_of(
    folder: str, names: Sequence[str], shown: str, *, in_order: bool = False
) -> tuple[str, ...] | None:
    """The TIFF files in z order, if they are several and the first has several pages; else None.

    InputError if their numbers have a gap. A file without a number is the one before 1.
    ``in_order``: they are taken as they come.
    """
    tiffs = [
        name
        for name in names
        if name.lower().endswith(TIFF_SUFFIXES) and not Path(name).name.startswith(".")
    ]
    if len(tiffs) < 2:
        return None
    first = tiffs[0] if in_order else min(tiffs, key=_place)
    path = str(Path(folder) / first)
    with open_regular(path) as file:
        if len(page_offsets(file, size_of(file), path).offsets) < 2:
            return None
    if in_order:
        return tuple(tiffs)
    ordered = sorted(tiffs, key=_place)
    ends = [_NUMBERED.fullmatch(Path(name).stem) for name in ordered]
    numbers = [int(end[2] or 0) for end in ends if end is not None]
    stems = {end[1] for end in ends if end is not None}
    if len(stems) > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise InputError(
            "several files of many pages, but not the parts of one stack",
            file=shown,
            expected="one name, with numbers without a gap, such as brain.tif, brain_1.tif, ...",
            found=shortened(ordered),
            mend="give one file, a pattern for the parts, or a list of them in a file (.txt)",
        )
    return tuple(ordered)


def _place(name: str) -> tuple[list[Any], str]:
    """By it the file without a number comes before those with one."""
    return natural_key(name.rpartition(".")[0])


def siblings(path: str) -> str | None:
    """A file beside this one that looks like a further part of the same stack, if there is one."""
    here = Path(path)
    own = _NUMBERED.fullmatch(here.stem)
    if own is None:
        return None
    number = int(own[2] or 0) + 1
    for sign in "_-. ":
        other = here.with_name(f"{own[1]}{sign}{number:0{len(own[2]) or 1}}{here.suffix}")
        if other.is_file():
            return other.name
    return None
