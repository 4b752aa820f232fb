"""A volume as an array of Zarr (2 and 3, OME-Zarr 0.4 and 0.5) or N5: a folder of chunks.

Read by tensorstore. What its metadata says is checked before a chunk is read: sizes, chunks of at
most 1 GiB, arrays inside of the folder. A chunk that is not stored is the array's fill value by
these formats; how many there are is said. A damaged one is an error.
"""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

from tbseg_ops.errors import InputError, ResourceError, system_errors
from tbseg_ops.reference import CHUNKED_MARKS, is_chunked
from tbseg_ops.selection import WHOLE, Selection, is_order
from tbseg_ops.settings import ROOTS, check_inside
from tbseg_ops.storage.commit import is_leftover
from tbseg_ops.volume.array import ArraySource
from tbseg_ops.volume.axes import Axes, axes_of, scale_of
from tbseg_ops.volume.regular_files import open_regular
from tbseg_ops.volume.source import Kind
from tbseg_ops.volume.voxel_size import UNKNOWN, VoxelSize, in_micrometres, voxel_size

_MOST_METADATA = 16 * 2**20
_MOST_CHUNK_BYTES = 2**30
_MOST_MEMBERS = 10_000
_DEEPEST = 4  # folders, down to an array
_DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr", "attributes.json": "n5"}


@dataclass(frozen=True, slots=True)
class _Found:
    """An array's folder, the driver for it, and what the metadata around it says."""

    folder: Path
    driver: str
    kind: Kind
    order: str | None = None
    voxels: VoxelSize = UNKNOWN


class ZarrSource(ArraySource):
    """One array. Keeps no file open; not to be used after a fork, since it has threads."""

    def __init__(self, path: str, selection: Selection = WHOLE, *, planned: bool = False) -> None:
        """``planned``: the chunks were counted when the plan was made."""
        found = _find(Path(path), selection.scale)
        where = str(found.folder)
        check_inside(where)
        with _errors(where):
            self._array = array = tensorstore.open(
                {"driver": found.driver, "kvstore": {"driver": "file", "path": where}},
                open=True,
                read=True,
            ).result()
        dtype = np.dtype(array.dtype.numpy_dtype)
        shape = tuple(map(int, array.shape))
        chunks, files = (
            tuple(int(n or 1) for n in layout.shape or shape)
            for layout in (array.chunk_layout.read_chunk, array.chunk_layout.write_chunk)
        )
        if prod(chunks) * dtype.itemsize > _MOST_CHUNK_BYTES:
            raise InputError(
                "the chunks are too large",
                file=where,
                expected=f"at most {_MOST_CHUNK_BYTES} bytes",
                found=f"{chunks} of {dtype}",
                mend="write the array again with smaller chunks",
            )
        axes, notes = _axes(found, array, selection.axes, where)
        if not planned:
            stored, wanted = _count(found.folder), _chunks(shape, files)
            notes = (*notes, *_sparse(stored, wanted, array, where))
        self._describe(
            where,
            found.folder.name,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            axes=axes,
            selection=selection,
            kind=found.kind,
            notes=notes,
        )

    def _decoded(self, part: tuple[slice | int, ...]) -> NDArray[Any]:
        with _errors(self._where):
            found: NDArray[Any] = self._array[part].read().result()
            return found


def _find(folder: Path, scale: int) -> _Found:
    """The array of a folder: itself, that of a scale, or the only one in it."""
    attributes = _attributes(folder)
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, dict) else None
    if isinstance(images, list) and images and isinstance(images[0], dict):
        return _of_image(folder, images[0], scale)
    driver = _driver(folder)
    if driver is not None:
        scale_of(scale, 1, str(folder))
        kind: Kind = "n5" if driver == "n5" else "zarr"
        return _Found(folder, driver, kind, _names(attributes), _n5_size(attributes))
    levels = [inner for n in range(64) if _driver(inner := folder / f"s{n}") is not None]
    if levels:  # N5 of BigDataViewer, Paintera and others
        level = levels[scale_of(scale, len(levels), str(folder))]
        size = _n5_size(_attributes(level))
        if size == UNKNOWN and scale == 0:
            size = _n5_size(attributes)
        return _Found(level, str(_driver(level)), "n5", None, size)
    parts = _inside(folder)
    if len(parts) != 1:
        raise InputError(
            "it is not clear which array is the volume",
            file=str(folder),
            expected="an array, an OME-Zarr image, or one of them in the folder",
            found=", ".join(path.name for path in parts[:20]) or "none",
            mend=f"give the folder of one, such as {shlex.quote(str(parts[0]))}"
            if parts
            else "check the folder: was it copied whole?",
        )
    return _find(parts[0], scale)


def _inside(folder: Path) -> list[Path]:
    """Arrays and images in a folder, or where there is none, in the folders of it, and so on."""
    level = [folder]
    for _ in range(_DEEPEST):
        level = [path for parent in level for path in _folders(parent)][:_MOST_MEMBERS]
        if found := [path for path in level if is_chunked(path)]:
            return found
    return []


def _of_image(folder: Path, image: dict[str, Any], scale: int) -> _Found:
    """The array of a scale of an OME-Zarr image, its axes and its voxel size."""
    levels = image.get("datasets")
    if not isinstance(levels, list) or not levels:
        raise _damaged(folder, "multiscales without datasets")
    chosen = levels[scale_of(scale, len(levels), str(folder))]
    level = chosen if isinstance(chosen, dict) else {}
    path = PurePosixPath(str(level.get("path", "")))
    if path.is_absolute() or ".." in path.parts or "\0" in str(path):
        raise _damaged(folder, f"the path {str(path)!r} of a scale leads out of the folder")
    array = folder / path
    driver = _driver(array)
    if driver is None:
        raise _damaged(folder, f"there is no array at {str(path)!r}")
    axes = image.get("axes")
    named = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes or ()]
    order = "".join(str(axis.get("name", "")).lower()[:1] for axis in named)
    factors = [1.0] * len(order)
    for owner in (level, image):
        for transformation in owner.get("coordinateTransformations") or ():
            is_object = isinstance(transformation, dict)
            scales: Any = transformation.get("scale") if is_object else None
            if _are_numbers(scales) and len(scales) == len(factors):
                factors = [a * b for a, b in zip(factors, scales, strict=True)]
    size = dict(zip(order, factors, strict=True))
    unit = {a[:1]: str(n.get("unit", "")) for a, n in zip(order, named, strict=True)}
    units = [unit.get(axis, "") for axis in "zyx"]
    sizes = [size.get(axis, 1.0) for axis in "zyx"]
    voxels = in_micrometres(sizes, units) if all(units) else UNKNOWN
    return _Found(array, driver, "ome-zarr", order if is_order(order) else None, voxels)


def _axes(found: _Found, array: Any, given: str | None, where: str) -> tuple[Axes, tuple[str, ...]]:
    labels = tuple(array.domain.labels)
    notes: tuple[str, ...] = ()
    if found.order is not None and given is None:
        labels = tuple(found.order)
    elif found.driver == "n5" and given is None and not all(labels):
        # N5 stores x first.
        labels = tuple("xyzct"[: array.rank])
        if array.rank > 3:
            notes = (f"the file does not name its axes: {''.join(labels)} is assumed (--axes)",)
    axes, more = axes_of(None, labels, given, array.rank, where)
    return Axes(axes.order, found.voxels), (*notes, *more)


def _attributes(folder: Path) -> dict[str, Any]:
    """What users wrote about a folder: attributes of any of the formats."""
    found: dict[str, Any] = {}
    for name in (".zattrs", "attributes.json", "zarr.json"):
        if (folder / name).is_file():
            content = _json(folder / name)
            more = content.get("attributes", {}) if name == "zarr.json" else content
            found |= more if isinstance(more, dict) else {}
    return found


def _json(path: Path) -> dict[str, Any]:
    with open_regular(str(path)) as file, system_errors(str(path)):
        content = file.read(_MOST_METADATA + 1)
    try:
        if len(content) > _MOST_METADATA:
            raise ValueError("it is too long")
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    return found


def _driver(folder: Path) -> str | None:
    """By which an array is read; None if a folder holds none of its own."""
    for name, driver in _DRIVERS.items():
        if not (folder / name).is_file():
            continue
        content = _json(folder / name) if driver != "zarr" else {}
        if (
            driver == "zarr"
            or (driver == "zarr3" and content.get("node_type") == "array")
            or (driver == "n5" and {"dimensions", "dataType"} <= content.keys())
        ):
            return driver
    return None


def _names(attributes: dict[str, Any]) -> str | None:
    """The axes as xarray writes them for Zarr 2."""
    names = attributes.get("_ARRAY_DIMENSIONS")
    order = "".join(str(n).lower()[:1] for n in names) if isinstance(names, list) else ""
    return order if is_order(order) else None


def _n5_size(attributes: dict[str, Any]) -> VoxelSize:
    """``resolution``, or ``pixelResolution`` with its unit, of scale 0: x, y, z."""
    stored: Any = attributes.get("pixelResolution", attributes.get("resolution"))
    unit = attributes.get("units", attributes.get("unit"))
    if isinstance(stored, dict):
        stored, unit = stored.get("dimensions"), stored.get("unit")
    if not isinstance(stored, list) or len(stored) < 3:
        return UNKNOWN
    sizes, first = stored[2::-1], unit[0] if isinstance(unit, list) and unit else unit
    factors: Any = attributes.get("downsamplingFactors")
    if _are_numbers(factors) and _are_numbers(sizes) and len(factors) >= 3:
        sizes = [a * b for a, b in zip(sizes, factors[2::-1], strict=True)]
    known = in_micrometres(sizes, [str(first)] * 3)
    return known if known.size else voxel_size(sizes, None)


def _are_numbers(values: Any) -> bool:
    """Whether this is a list of numbers, none of which could be too large."""
    return isinstance(values, list) and all(
        isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53)
        for value in values
    )


def _folders(folder: Path) -> list[Path]:
    with system_errors(str(folder)), os.scandir(folder) as entries:
        found = [Path(entry.path) for entry, _ in zip(entries, range(_MOST_MEMBERS), strict=False)]
    return sorted(path for path in found if path.is_dir())


def _count(folder: Path) -> int:
    """Chunk files below a folder. InputError for links, which could lead out of ``TBSEG_ROOTS``."""
    names = (entry.name for entry in _files(str(folder)))
    return sum(1 for name in names if name not in CHUNKED_MARKS and not is_leftover(name))


def _files(folder: str) -> Iterator["os.DirEntry[str]"]:
    with system_errors(folder), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and ROOTS.value:
                raise InputError(
                    "a link in the folder of an array",
                    file=entry.path,
                    expected="files and folders",
                    found="a symbolic link",
                    mend="put the files themselves there",
                )
            if entry.is_dir():
                yield from _files(entry.path)
            elif not entry.name.startswith((".z", "__")) and not entry.name.endswith(".tmp"):
                yield entry


def _chunks(shape: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    return prod(ceil(n / c) for n, c in zip(shape, chunk, strict=True))


def _sparse(stored: int, wanted: int, array: Any, where: str) -> tuple[str, ...]:
    if stored == 0:
        raise InputError(
            "no chunk of the array is stored",
            file=where,
            expected=f"{wanted} files of chunks",
            found="none",
            mend="check the folder: was it copied whole?",
        )
    if stored >= wanted:
        return ()
    value = getattr(array, "fill_value", None)
    return (
        f"{wanted - stored} of {wanted} files of chunks are not stored: by the format they are the"
        f" fill value, {0 if value is None else value}",
    )


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """What tensorstore raises becomes InputError; ResourceError if the disk or memory failed."""
    try:
        yield
    except (MemoryError, OSError) as error:
        raise ResourceError("the array cannot be read", file=where, found=error) from error
    except (ValueError, NotImplementedError, TypeError) as error:
        raise InputError(
            "the array is damaged, or of a kind that cannot be read",
            file=where,
            found=str(error).partition(" [tensorstore_spec")[0][:300],
            mend="copy the volume again, or write it with other codecs",
        ) from error


def _damaged(where: Path, found: str) -> InputError:
    return InputError(
        "the metadata of the array is damaged",
        file=str(where),
        found=found,
        mend="write the volume again",
    )
