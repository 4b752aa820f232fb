"""The pictures of the report: planes through the middle, as wide and high as they are in space."""

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened
from tbseg_ops.run import RunFolder
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.run.raw import read_volume
from tbseg_ops.view.paint import colors_of, png, range_of, stretched
from tbseg_ops.view.zarr import Space

_VIEW = 640  # voxels a side of the part that is pictured, at full resolution
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

    They are at most 640 voxels a side. A volume that tells no size of its voxels has cubes.
    """
    shape = folder.plan.shape
    return [
        _scene(folder, axis)
        for axis in range(3)
        if shape[axis] > 1 and min(n for a, n in enumerate(shape) if a != axis) > 1
    ] or [_scene(folder, shape.index(1))]


def _scene(folder: RunFolder, axis: int) -> Scene:
    plan = folder.plan
    space, colors = Space.of(plan), colors_of(plan.classifier)
    z, y, x = (1 if a == axis else _VIEW for a in range(3))
    box = Box.middle(plan.shape, (z, y, x))
    raw = read_volume(folder, box, box).raw[..., 0].squeeze(axis)
    with opened(folder.segmentation_file) as file:
        labels = file[LABELS][box.slices].squeeze(axis)
    grey = stretched(raw, range_of(raw))
    palette = np.array([(0, 0, 0), *colors], np.float32)
    colored = (1 - _OVERLAY) * grey[..., None] + _OVERLAY * palette[labels]
    down, across = (a for a in range(3) if a != axis)
    height, width = (box.shape[a] * space.voxel[a] for a in (down, across))
    bar = _round(_BAR * width)
    return Scene(
        title=f"{'zyx'[axis]} = {box.lo[axis]} ({'zyx'[down]} down, {'zyx'[across]} right)",
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
