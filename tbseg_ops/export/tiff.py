"""Images as TIFF, uncompressed: one file, or one a slice, with the voxel size.

Voxels lie in one file one after the other, so that viewers map it and read what is looked at. The
words of ImageJ are used where it has them: below 4 GB and for its types; else OME's, in a BigTIFF.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tbseg_ops.export.pieces import Contents, unlike
from tbseg_ops.geometry import Box
from tbseg_ops.run.images import Image
from tbseg_ops.run.plan import Plan
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.storage.commit import commit_over
from tbseg_ops.storage.offered import NOT_OFFERED
from tbseg_ops.view.zarr import Space

_PIECE_BYTES = 128 << 20
_DEPTH = 64  # planes of a piece, at most
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_IMAGEJ_BYTES = 4_000_000_000
_SHORT = {"micrometer": "um", "nanometer": "nm", "millimeter": "mm", "meter": "m"}


@dataclass(frozen=True)
class Planes:
    """One piece: the planes ``z0`` to ``z1`` of the file, or of the folder, at ``root``.

    ``files``: of a folder.
    """

    image: Image
    root: Path
    z0: int
    z1: int
    key: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.z0)


def pieces(
    plan: Plan, image: Image, path: Path, slices: bool, contents: Contents
) -> Iterator[Planes]:
    """All planes, as many at once as memory is meant to hold."""
    plane = prod(_shape(plan, image)[1:]) * np.dtype(image.dtype).itemsize
    depth = max(1, min(_DEPTH, _PIECE_BYTES // plane))
    digits = max(5, len(str(plan.shape[0])))
    for box in Box((0, 0, 0), plan.shape).blocks((depth, *plan.shape[1:])):
        z0, z1 = box.lo[0], box.hi[0]
        files = tuple(f"{image.name}_{z:0{digits}d}.tif" for z in range(z0, z1) if slices)
        yield Planes(image, path, z0, z1, contents.key(image, box), files)


def create(plan: Plan, image: Image, path: Path, slices: bool) -> None:
    """The empty file, which takes its full size at once, or folder."""
    if slices:
        path.mkdir(parents=True, exist_ok=True)
        return
    shape, dtype = _shape(plan, image), np.dtype(image.dtype)
    small = prod(shape) * dtype.itemsize < _IMAGEJ_BYTES
    path.unlink(missing_ok=True)
    tifffile.memmap(path, shape=shape, dtype=dtype, **_words(plan, image, small, len(shape)))


def write(place: Workplace, planes: Planes) -> None:
    """Read the voxels of some planes, write them, and read them again."""
    plan = place.folder.plan
    _, y, x = plan.shape
    voxels = planes.image.read(place.folder, Box((planes.z0, 0, 0), (planes.z1, y, x)))
    if planes.image.channels:
        voxels = np.moveaxis(voxels, -1, 1)
    if planes.files:
        _write_slices(plan, planes, voxels)
    else:
        _write_inside(planes.root, planes.z0, voxels)
        there = tifffile.memmap(planes.root, mode="r")[planes.z0 : planes.z1]
        if not all(map(_same, voxels, there)):
            raise unlike(planes.root)


def _same(plane: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return np.array_equal(plane, other, equal_nan=True)


def _write_inside(path: Path, z0: int, voxels: NDArray[np.generic]) -> None:
    """By writing, not into memory: there a full disk would be a signal instead of an error."""
    mapped = tifffile.memmap(path, mode="r")
    stored = np.ascontiguousarray(voxels, mapped.dtype)
    with path.open("r+b") as file:
        file.seek(mapped.offset + z0 * stored[0].nbytes)
        file.write(stored.data.cast("B"))
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in NOT_OFFERED:
                raise


def _write_slices(plan: Plan, planes: Planes, voxels: NDArray[np.generic]) -> None:
    words = _words(plan, planes.image, True, voxels.ndim - 1)
    for name, plane in zip(planes.files, voxels, strict=True):
        made, path = io.BytesIO(), planes.root / name
        tifffile.imwrite(made, np.ascontiguousarray(plane), **words)
        commit_over(path, made.getvalue())
        if path.read_bytes() != made.getvalue():
            raise unlike(path)


def _shape(plan: Plan, image: Image) -> tuple[int, ...]:
    z, y, x = plan.shape
    return (z, image.channels, y, x) if image.channels else (z, y, x)


def _words(plan: Plan, image: Image, small: bool, ndim: int) -> dict[str, Any]:
    """What tifffile is told: the voxel size in the words of ImageJ or of OME."""
    space = Space.of(plan)
    z, y, x = space.voxel
    axes = "ZCYX"[-ndim:] if image.channels else "ZYX"[-ndim:]
    unit = _SHORT.get(space.unit or "")
    if small and image.dtype in _IMAGEJ_TYPES:
        metadata: dict[str, Any] = {"axes": axes, "spacing": z}
        if unit:
            metadata["unit"] = unit
        if image.is_label:  # else it would be all but black
            most = 1 if image.value else len(plan.classifier.labels)
            metadata |= {"min": 0.0, "max": float(most)}
        return {"imagej": True, "resolution": (1 / x, 1 / y), "metadata": metadata}
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (z, y, x), strict=True)}
    units = {f"PhysicalSize{axis}Unit": "µm" if unit == "um" else unit for axis in "ZYX" if unit}
    metadata = {"axes": axes, "Name": image.name, **sizes, **units}
    return {"ome": True, "bigtiff": not small, "metadata": metadata}
