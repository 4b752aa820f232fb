"""The order of the axes of a stored array: given, by the file's own words, or by their number."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tbseg_ops.errors import InputError
from tbseg_ops.selection import AXES, is_order
from tbseg_ops.volume.voxel_size import UNKNOWN, VoxelSize, voxel_size

# ilastik's own reading of datasets without axistags, but for 4D, where channels are far likelier
# than time.
_DEFAULTS = {2: "yx", 3: "zyx", 4: "zyxc", 5: "tzyxc"}


@dataclass(frozen=True, slots=True)
class Axes:
    """Stored order of the axes as letters out of t, z, y, x, c, and the voxel size if stored."""

    order: str
    voxels: VoxelSize = UNKNOWN

    def lengths(self, shape: tuple[int, ...]) -> dict[str, int]:
        """Length of each of t, z, y, x, c; 1 for those that are not stored."""
        stored = dict(zip(self.order, shape, strict=True))
        return {axis: stored.get(axis, 1) for axis in AXES}


def axes_of(
    tags: str | None, labels: Sequence[str], given: str | None, ndim: int, where: str
) -> tuple[Axes, tuple[str, ...]]:
    """The axes of an array with ``ndim`` axes, and what was assumed.

    ``given`` by the user counts first, then ``tags`` (JSON, vigra's ``axistags``), then ``labels``
    (a name for each axis, if all are known), then what is likely.
    """
    if given is not None:
        if len(given) != ndim:
            raise InputError(
                "the order of the axes does not fit the array",
                file=where,
                expected=f"{ndim} letters",
                found=f"--axes {given}",
                mend="give a letter for each stored axis, the slowest first, such as --axes zyx",
            )
        with suppress(InputError):  # what is damaged need not be understood: the user has said it
            return Axes(given, find_axes(tags, ndim, where).voxels), ()
        return Axes(given), ()
    if tags is not None:
        return find_axes(tags, ndim, where), ()
    order = "".join(label.strip().lower()[:1] for label in labels)
    if len(order) == ndim and is_order(order):
        return Axes(order), ()
    likely = find_axes(None, ndim, where)
    if ndim < 3:
        return likely, ()
    note = f"the file does not name its axes: {likely.order} is assumed (another: --axes LETTERS)"
    return likely, (note,)


def find_axes(tags: str | None, ndim: int, where: str) -> Axes:
    """The axes of a dataset with ``ndim`` axes whose attribute ``axistags`` is ``tags`` (JSON)."""
    if tags is None:
        if ndim not in _DEFAULTS:
            raise InputError(
                "the dataset is no volume",
                file=where,
                expected="2 to 5 axes",
                found=f"{ndim} axes",
                mend="give another one, or store it with t, z, y, x and c at most",
            )
        return Axes(_DEFAULTS[ndim])
    try:
        entries = json.loads(tags)["axes"]
        order = "".join(str(entry["key"]).lower() for entry in entries)
        resolutions = {str(entry["key"]).lower(): entry.get("resolution") for entry in entries}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _wrong(
            "the attribute axistags is damaged", where, 'vigra\'s JSON, {"axes": [...]}', tags[:200]
        ) from error
    if len(order) != ndim or not is_order(order):
        raise _wrong(
            "the axistags do not fit the dataset",
            where,
            f"{ndim} different axes out of t, z, y, x, c, with y and x",
            order,
        )
    return Axes(order, voxel_size([resolutions.get(axis) for axis in "zyx"], None))


def time_point(chosen: int | None, there: int, where: str, more: str = "") -> int:
    """The time point to take; InputError if none of several is chosen, or one that is not there."""
    if chosen is None and there > 1:
        raise InputError(
            "the volume holds several time points",
            file=where,
            expected="1 time point",
            found=there,
            mend=f"choose one of them: --time 0 to --time {there - 1}, a run for each{more}",
        )
    return _one_of("time point", "--time", chosen or 0, there, where)


def scale_of(chosen: int, there: int, where: str) -> int:
    """The scale to take; InputError if there are not so many."""
    return _one_of("scale", "--scale", chosen, there, where)


def _one_of(what: str, option: str, chosen: int, there: int, where: str) -> int:
    if chosen >= there:
        raise InputError(
            f"the volume has no such {what}",
            file=where,
            expected=f"{option} 0 to {option} {there - 1}",
            found=f"{option} {chosen}",
            mend="give one of these" if there > 1 else f"leave {option} out: there is one only",
        )
    return chosen


def _wrong(what: str, where: str, expected: object, found: object) -> InputError:
    return InputError(
        what,
        file=where,
        expected=expected,
        found=found,
        mend="say what they are: --axes zyx; or correct or delete the attribute axistags",
    )
