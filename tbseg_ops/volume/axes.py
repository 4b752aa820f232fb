"""The order of the axes of an HDF5 dataset: vigra's ``axistags``, or the number of axes."""

import json
from dataclasses import dataclass

from tbseg_ops.errors import InputError
from tbseg_ops.volume.voxel_size import UNKNOWN, VoxelSize, voxel_size

# ilastik's own reading of datasets without axistags, but for 4D, where channels are far likelier
# than time.
_DEFAULTS = {2: "yx", 3: "zyx", 4: "zyxc", 5: "tzyxc"}
_CANONICAL = "tzyxc"


@dataclass(frozen=True, slots=True)
class Axes:
    """Stored order of the axes as letters out of t, z, y, x, c, and the voxel size if stored."""

    order: str
    voxels: VoxelSize = UNKNOWN

    def lengths(self, shape: tuple[int, ...]) -> dict[str, int]:
        """Length of each of t, z, y, x, c; 1 for those that are not stored."""
        stored = dict(zip(self.order, shape, strict=True))
        return {axis: stored.get(axis, 1) for axis in _CANONICAL}


def find_axes(tags: str | None, ndim: int, where: str) -> Axes:
    """The axes of a dataset with ``ndim`` axes whose attribute ``axistags`` is ``tags`` (JSON)."""
    if tags is None:
        if ndim not in _DEFAULTS:
            raise _wrong("the dataset is no volume", where, "2 to 5 axes", f"{ndim} axes")
        return Axes(_DEFAULTS[ndim])
    try:
        entries = json.loads(tags)["axes"]
        order = "".join(str(entry["key"]).lower() for entry in entries)
        resolutions = {str(entry["key"]).lower(): entry.get("resolution") for entry in entries}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _wrong(
            "the attribute axistags is damaged", where, 'vigra\'s JSON, {"axes": [...]}', tags[:200]
        ) from error
    if (
        len(order) != ndim
        or len(set(order)) != ndim
        or not set("yx") <= set(order) <= set(_CANONICAL)
    ):
        raise _wrong(
            "the axistags do not fit the dataset",
            where,
            f"{ndim} different axes out of t, z, y, x, c, with y and x",
            order,
        )
    return Axes(order, voxel_size([resolutions.get(axis) for axis in "zyx"], None))


def _wrong(what: str, where: str, expected: object, found: object) -> InputError:
    return InputError(
        what,
        file=where,
        expected=expected,
        found=found,
        mend="correct or delete the attribute axistags (default: zyx or zyxc)",
    )
