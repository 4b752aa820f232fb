"""The pictures of the report, as wide and high as they are in space: planes through the middle of
the volume, and through the middle of tiles that are odd."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened
from tbseg_ops.run import RunFolder
from tbseg_ops.run.odd import odd_tiles, share_of
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.run.raw import read_volume
from tbseg_ops.run.records import Record
from tbseg_ops.view.paint import Range, colors_of, png, range_of, stretched
from tbseg_ops.view.zarr import Space

# Voxels a side of the part that is pictured, at full resolution. A plane across x needs of each row
# one voxel, for which the disk reads a page or more: all of a volume of narrow rows.
_VIEW = (640, 640, 256)
_VIEW_OF_A_TILE = (1, 256, 256)
_ODD_TILES = 6  # that are pictured
_OVERLAY = 0.45
_BAR = 0.3  # of the width: the longest that a scale bar is


@dataclass(frozen=True)
class Scene:
    """One plane. ``raw``, ``classes``: PNG in base64, one pixel a voxel.

    ``aspect``: width by height in space, which pixels do not tell of voxels that are no cubes.
    ``bar``: length of the scale bar, as a share of the width, and ``length``: in words.
    """

    title: str
    raw: str
    classes: str
    aspect: float
    bar: float
    length: str


def scenes(folder: RunFolder) -> list[Scene]:
    """Planes through the middle of the result, one across each axis; of a slice the slice.

    They are at most 640 voxels a side, that across x 256. A volume that tells no size of its voxels
    has cubes.
    """
    shape = folder.plan.shape
    return [
        _scene(folder, axis)
        for axis in range(3)
        if shape[axis] > 1 and min(n for a, n in enumerate(shape) if a != axis) > 1
    ] or [_scene(folder, shape.index(1))]


def odd_scenes(folder: RunFolder, records: Sequence[Record]) -> tuple[list[Scene], int]:
    """The oddest tiles, each by its middle plane across z; and how many tiles are odd.

    ``records``: of all tiles, in the order of the grid.
    """
    plan, labels = folder.plan, folder.plan.classifier.labels
    shares = np.stack([share_of(record, len(labels)) for record in records])
    odd = odd_tiles(shares.reshape(*plan.grid.counts, len(labels)))
    if not odd:
        return [], 0
    found = []
    _, y, x = _VIEW
    bounds = range_of(_raw(folder, Box.middle(plan.shape, (1, y, x))))  # else all look alike
    for each in odd[:_ODD_TILES]:
        tile = plan.grid.at(each.position)
        box = Box.middle(tile.core.shape, _VIEW_OF_A_TILE).shifted(tile.core.lo)
        found.append(_plane(folder, box, 0, f"{tile.name}: {each.words(labels)}", bounds))
    return found, len(odd)


def _scene(folder: RunFolder, axis: int) -> Scene:
    z, y, x = (1 if a == axis else _VIEW[axis] for a in range(3))
    box = Box.middle(folder.plan.shape, (z, y, x))
    down, across = (name for a, name in enumerate("zyx") if a != axis)
    title = f"{'zyx'[axis]} = {box.lo[axis]} ({down} down, {across} right)"
    return _plane(folder, box, axis, title)


def _raw(folder: RunFolder, box: Box) -> NDArray[np.generic]:
    return read_volume(folder, box, box).raw[..., 0]


def _plane(
    folder: RunFolder, box: Box, axis: int, title: str, bounds: Range | None = None
) -> Scene:
    """A box that is one voxel thick along ``axis``; grey between ``bounds``, by default its own."""
    space, colors = Space.of(folder.plan), colors_of(folder.plan.classifier)
    raw = _raw(folder, box).squeeze(axis)
    with opened(folder.segmentation_file) as file:
        labels = file[LABELS][box.slices].squeeze(axis)
    grey = stretched(raw, bounds or range_of(raw))
    palette = np.array([(0, 0, 0), *colors], np.float32)
    colored = (1 - _OVERLAY) * grey[..., None] + _OVERLAY * palette[labels]
    height, width = (box.shape[a] * space.voxel[a] for a in range(3) if a != axis)
    bar = _round(_BAR * width)
    return Scene(
        title=title,
        raw=_png(grey.astype(np.uint8)),
        classes=_png(colored.astype(np.uint8)),
        aspect=width / height,
        bar=bar / width,
        length=f"{bar:g} {_unit(folder)}",
    )


def _unit(folder: RunFolder) -> str:
    info = folder.plan.volume
    if info.voxel_size is None:
        return "voxels"
    return "\N{MICRO SIGN}m" if info.unit == "um" else info.unit or "(no unit)"


def _round(length: float) -> float:
    """The largest of 1, 2, 5, 10, 20, ... that is not longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(n for n in (1, 2, 5) if n * power <= length * (1 + 1e-9)) * power)


def _png(image: NDArray[np.uint8]) -> str:
    return base64.b64encode(png(image)).decode()
