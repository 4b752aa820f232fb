"""What ImageJ (or tifffile in its name) writes into the description of the first page.

Lines ``key=value``: ``images``, ``channels``, ``slices``, ``frames`` (1 when absent; ``images``
alone for a plain stack), ``spacing`` and ``unit``. Pages run over channels fastest, then slices,
then frames, unless ``order`` says otherwise. Beyond 4 GB there is one page, and the pixels of the
other images follow those of the first without pages of their own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from tifffile import TiffPage

from tbseg_ops.errors import InputError
from tbseg_ops.volume.voxel_size import UNKNOWN, VoxelSize, normal_unit, voxel_size

_ORDERS = {"default": "czt", "xyczt": "czt"}


@dataclass(frozen=True, slots=True)
class ImageJ:
    """``sizes``: number of images along t, z, c, slowest first; samples of a page not counted."""

    sizes: Mapping[str, int]
    voxels: VoxelSize

    @property
    def images(self) -> int:
        return prod(self.sizes.values())


def imagej_header(page: TiffPage, where: str) -> ImageJ | None:
    """ImageJ's own words, None if the page has none; InputError if they contradict themselves."""
    text = page.imagej_description
    if text is None:
        return None
    words = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    words = {key.strip(): value.strip() for key, value in words.items()}
    counts = {key: _count(words, key, where) for key in ("channels", "slices", "frames", "images")}
    channels, slices, frames = counts["channels"], counts["slices"], counts["frames"]
    if channels == page.samplesperpixel:
        channels = 1  # Bio-Formats and tifffile count the samples of a page as channels
    if (channels, slices, frames) == (1, 1, 1):
        slices = counts["images"]
    if counts["images"] not in (1, prod((channels, slices, frames))):
        raise InputError(
            "ImageJ's description contradicts itself",
            file=where,
            expected=f"images = channels x slices x frames = {prod((channels, slices, frames))}",
            found=f"images={counts['images']}",
            mend="open the file in ImageJ and save it again",
        )
    order = words.get("order", "czt").lower()
    order = _ORDERS.get(order, order)
    if sorted(order) != ["c", "t", "z"]:
        raise InputError(
            "ImageJ's description has an unknown order of images",
            file=where,
            expected="a permutation of czt",
            found=order,
        )
    sizes = {"c": channels, "z": slices, "t": frames}
    return ImageJ({axis: sizes[axis] for axis in reversed(order)}, _voxels(page, words))


def _count(words: dict[str, str], key: str, where: str) -> int:
    text = words.get(key, "1")
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) < 1:
        raise InputError(
            "ImageJ's description is damaged",
            file=where,
            expected=f"{key}=1 or more",
            found=f"{key}={text}"[:200],
        )
    return int(text)


def _voxels(page: TiffPage, words: dict[str, str]) -> VoxelSize:
    unit = normal_unit(words.get("unit", ""))
    if unit is None or "spacing" not in words:
        return UNKNOWN
    sizes = [words["spacing"]]
    for code in (283, 282):  # YResolution, XResolution: pixels per unit, as a fraction
        value = page.tags.valueof(code)
        if not (isinstance(value, tuple) and len(value) == 2 and min(value) > 0):
            return UNKNOWN
        sizes.append(value[1] / value[0])
    return voxel_size(sizes, unit)
