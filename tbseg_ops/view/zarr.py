"""A run as OME-Zarr 0.4 that nobody wrote: metadata from the plan, chunks as they lie in its files.

Neuroglancer and other readers of Zarr get raw, labels and probability maps over HTTP while the run
goes on. A chunk that is not there yet is missing, which in Zarr means zeros.
"""

import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tbseg_ops.geometry import Box, Index
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import LABELS, encoded
from tbseg_ops.run.plan import Plan
from tbseg_ops.view.tiles import RunView
from tbseg_ops.view.voxels import Classes, level_shape, levels_of, raw_box

_FAR_CHUNK = (64, 64, 64)
_ZLIB = {"id": "zlib", "level": 1}
# What the units of volumes are called in OME-Zarr, and what they are in metres.
_UNITS = {
    **dict.fromkeys(("um", "µm", "micron", "micrometer"), ("micrometer", 1e-6)),
    **dict.fromkeys(("nm", "nanometer"), ("nanometer", 1e-9)),
    **dict.fromkeys(("mm", "millimeter"), ("millimeter", 1e-3)),
    **dict.fromkeys(("m", "meter"), ("meter", 1.0)),
}


@dataclass(frozen=True)
class Space:
    """Size of a voxel (z, y, x); ``unit``: as in OME-Zarr, None if the volume tells none."""

    voxel: tuple[float, float, float]
    unit: str | None
    metres: float

    @classmethod
    def of(cls, plan: Plan) -> "Space":
        """Of a volume without a voxel size: cubes of 1, without a unit."""
        unit, metres = _UNITS.get(plan.volume.unit or "", (None, 1.0))
        return cls(plan.volume.voxel_size or (1.0, 1.0, 1.0), unit, metres)


def axes(space: Space, channels: int) -> list[dict[str, str]]:
    """The axes of an image in the words of OME-Zarr: z, y, x, before them c if it has channels."""
    unit = {"unit": space.unit} if space.unit else {}
    of_space = [{"name": axis, "type": "space", **unit} for axis in "zyx"]
    return [{"name": "c", "type": "channel"}, *of_space] if channels else of_space


def placed(space: Space, steps: Index, lo: Index, channels: int) -> list[dict[str, Any]]:
    """Where the voxels of a level lie: their middles, by the corner of the whole volume.

    ``steps``: so many voxels of the volume each of them is on each axis; ``lo``: its first one.
    """
    more = [1.0] if channels else []
    scale = [v * step for v, step in zip(space.voxel, steps, strict=True)]
    sizes = zip(space.voxel, steps, lo, strict=True)
    first = [v * (low + (step - 1) / 2) for v, step, low in sizes]
    return [
        {"type": "scale", "scale": [*more, *scale]},
        {"type": "translation", "translation": [*(0.0 for _ in more), *first]},
    ]


class _Array(Protocol):
    """One multiscale image: its arrays have the axes c, z, y, x or z, y, x."""

    name: str
    channels: int  # 0: no such axis
    dtype: np.dtype[Any]
    box: Box

    def array(self, level: int) -> tuple[Index, dict[str, Any] | None]:
        """Chunk (z, y, x) and compressor of a level."""

    def chunk(self, level: int, channel: int, at: Index) -> bytes | None:
        """A chunk as its array stores it; None if there is none."""


class _Raw:
    """What ingest wrote, halo of the part included."""

    def __init__(self, folder: RunFolder) -> None:
        plan = folder.plan
        self.name, self._folder = "raw", folder
        self.channels = plan.volume.channels if plan.volume.channels > 1 else 0
        self.dtype = np.dtype(plan.volume.dtype)
        self.box = plan.read

    def array(self, level: int) -> tuple[Index, dict[str, Any] | None]:
        return _FAR_CHUNK, None

    def chunk(self, level: int, channel: int, at: Index) -> bytes | None:
        box = _box_of(at, _FAR_CHUNK, level_shape(self.box.shape, level))
        if box is None:
            return None
        voxels = raw_box(self._folder, box, level)[..., channel]
        return _whole_chunk(voxels, _FAR_CHUNK) if voxels.any() else None


class _Outputs:
    """A dataset of the class files. Level 0 has the chunks of the files."""

    def __init__(self, name: str, classes: Classes, dtype: str) -> None:
        plan = classes.folder.plan
        self.name, self._classes, self.channels = name, classes, 0
        self.dtype, self.box = np.dtype(dtype), plan.part
        self._chunk = plan.grid_model.chunk

    def array(self, level: int) -> tuple[Index, dict[str, Any] | None]:
        return (self._chunk if level == 0 else _FAR_CHUNK), _ZLIB

    def chunk(self, level: int, channel: int, at: Index) -> bytes | None:
        if level == 0:
            return self._classes.chunk(at)
        box = _box_of(at, _FAR_CHUNK, level_shape(self.box.shape, level))
        voxels = None if box is None else self._classes.box(box, level)
        return None if voxels is None else zlib.compress(_whole_chunk(voxels, _FAR_CHUNK), 1)


class RunZarr:
    """The images of a run by name: raw, labels, and probability-N of class N."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._classes: dict[str, Classes] = {}

    def names(self) -> list[str]:
        """Of all images."""
        maps = self._view.folder.plan.probability_labels
        return ["raw", "labels", *(f"probability-{i + 1}" for i in maps)]

    def get(self, path: str) -> tuple[str, bytes] | None:
        """Media type and content of a file of the layout; None if there is none."""
        match = re.fullmatch(
            r"(?P<name>[a-z0-9-]{1,40})/(?:(?P<level>\d)/)?(?P<rest>[.a-z0-9/]{1,80})",
            path,
            re.ASCII,
        )
        image = match and self._image(match["name"])
        if match is None or image is None:
            return None
        if match["level"] is None:
            return _json(_group(image, self._space, match["rest"]))
        level = int(match["level"])
        if level >= levels_of(image.box.shape):
            return None
        if match["rest"] == ".zarray":
            return _json(_array(image, level))
        numbers = re.fullmatch(
            r"(?:(\d{1,3})/)?(\d{1,6})/(\d{1,6})/(\d{1,6})", match["rest"], re.ASCII
        )
        if numbers is None or (numbers[1] is not None) != bool(image.channels):
            return None
        channel, z, y, x = (int(n or 0) for n in numbers.groups())
        if channel >= max(1, image.channels):
            return None
        data = image.chunk(level, channel, (z, y, x))
        return None if data is None else ("application/octet-stream", data)

    @property
    def _space(self) -> Space:
        return Space.of(self._view.folder.plan)

    def _image(self, name: str) -> _Array | None:
        folder = self._view.folder
        if name not in self.names():
            return None
        if name == "raw":
            return _Raw(folder)
        dataset, dtype = LABELS, "uint8"
        if name != "labels":
            label = encoded(folder.plan.classifier.labels)[int(name.rpartition("-")[2]) - 1]
            dataset, dtype = f"probabilities/{label}", folder.plan.spec.probability_dtype
        return _Outputs(
            name, self._classes.setdefault(dataset, Classes(self._view, dataset)), dtype
        )


def _group(image: _Array, space: Space, rest: str) -> dict[str, Any] | None:
    if rest == ".zgroup":
        return {"zarr_format": 2}
    if rest != ".zattrs":
        return None
    levels = range(levels_of(image.box.shape))
    return {
        "multiscales": [
            {
                "version": "0.4",
                "name": image.name,
                "axes": axes(space, image.channels),
                "type": "nearest",
                "datasets": [
                    {"path": str(n), "coordinateTransformations": _placed(image, space, 2**n)}
                    for n in levels
                ],
            }
        ]
    }


def _placed(image: _Array, space: Space, step: int) -> list[dict[str, Any]]:
    return placed(space, (step, step, step), image.box.lo, image.channels)


def _array(image: _Array, level: int) -> dict[str, Any]:
    chunk, compressor = image.array(level)
    channels = bool(image.channels)
    return {
        "zarr_format": 2,
        "shape": [*([image.channels] if channels else []), *level_shape(image.box.shape, level)],
        "chunks": [*([1] if channels else []), *chunk],
        "dtype": image.dtype.newbyteorder("<").str,
        "compressor": compressor,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }


def _box_of(at: Index, chunk: Index, shape: Index) -> Box | None:
    lo = tuple(a * c for a, c in zip(at, chunk, strict=True))
    hi = tuple(min(low + c, n) for low, c, n in zip(lo, chunk, shape, strict=True))
    if any(a >= b for a, b in zip(lo, hi, strict=True)):
        return None
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


def _whole_chunk(voxels: "np.ndarray[Any, Any]", chunk: Index) -> bytes:
    """A chunk in full size, zeros behind the end of the array."""
    if voxels.shape == chunk:
        return voxels.tobytes()
    whole = np.zeros(chunk, voxels.dtype)
    whole[tuple(slice(0, n) for n in voxels.shape)] = voxels
    return whole.tobytes()


def _json(value: dict[str, Any] | None) -> tuple[str, bytes] | None:
    return None if value is None else ("application/json", json.dumps(value).encode())
