"""A volume as a dataset of an HDF5 file, in any order of its axes.

Per case: axes by ``axistags``, else zyx or zyxc; one time point is dropped; several of images
are read as slices, several of volumes are refused.
Refused by name: what leaves the file (external and virtual data), chunks that were never written
(HDF5 would read them as zeros), other types than uint8, uint16 and float32.
The fingerprint of a slice is that of its decoded pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.hdf5.texts import text_attribute
from tbseg_ops.hdf5.untrusted import (
    dataset_paths,
    hdf5_errors,
    open_untrusted,
    untrusted_dataset,
)
from tbseg_ops.limits import check_slice_bytes, check_slices
from tbseg_ops.volume.axes import Axes, find_axes
from tbseg_ops.volume.fingerprints import new_plane_digest, plane_digest
from tbseg_ops.volume.source import VOXEL_TYPES, Slices, Source, VolumeInfo, VoxelType, check_range
from tbseg_ops.volume.voxel_size import VoxelSize, voxel_size


class Hdf5Source(Source):
    """A dataset. Keeps its file open: not to be pickled or used after a fork."""

    def __init__(self, path: str, dataset: str | None) -> None:
        """``dataset`` None: the only dataset of 2 to 5 axes in the file."""
        self._file = open_untrusted(path)
        try:
            with hdf5_errors(path, "read"):
                self._prepare(path, dataset or _only_volume(self._file))
        except BaseException:
            self._file.close()
            raise

    def _prepare(self, path: str, dataset: str) -> None:
        self._where = f"{path}:{dataset}"
        self._dataset = untrusted_dataset(self._file, dataset)
        dtype = _voxel_type(self._dataset, self._where)
        self._axes = find_axes(
            text_attribute(self._dataset, "axistags"), self._dataset.ndim, self._where
        )
        self.warnings: Sequence[str] = ()
        if "z" not in self._axes.order and self._axes.lengths(self._dataset.shape)["t"] > 1:
            self._axes = replace(self._axes, order=self._axes.order.replace("t", "z"))
            self.warnings = ("a series of images: its time points (t) are read as slices (z)",)
        lengths = self._axes.lengths(self._dataset.shape)
        if min(lengths.values()) < 1:
            raise InputError(
                "the dataset is empty",
                file=self._where,
                expected="at least one voxel",
                found=f"shape {self._dataset.shape}",
            )
        if lengths["t"] != 1:
            raise InputError(
                "the dataset holds several time points",
                file=self._where,
                expected="1 time point",
                found=lengths["t"],
                mend="export one time point",
            )
        _check_written(self._dataset, self._where)
        voxels = _voxels(self._dataset, self._axes)
        self.info = VolumeInfo(
            shape=(lengths["z"], lengths["y"], lengths["x"]),
            channels=lengths["c"],
            dtype=dtype,
            voxel_size=voxels.size,
            unit=voxels.unit,
            kind="hdf5",
        )
        check_slice_bytes(self.info.slice_bytes, self._where)
        check_slices(lengths["z"], self._where)
        name = f"{Path(path).name}:{dataset}"
        self.slices: Sequence[str] = tuple(f"{name} z={z}" for z in range(lengths["z"]))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``. Ask for whole chunks: each call decodes all it touches."""
        check_range(z0, z1, self.info.shape[0])
        array = self._box(z0, z1, 0, self.info.shape[1])
        found = tuple(plane_digest(plane) for plane in array)
        for z, fingerprint in enumerate(found, start=z0):
            self._check_planned(z, fingerprint, planned)
        return Slices(array, found)

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """See ``Source.fingerprints``. Decodes each chunk once, one row of chunks at a time."""
        check_range(z0, z1, self.info.shape[0])
        _, height, x = self.info.shape
        depth, rows = self._chunk("z"), self._chunk("y")
        found = []
        for low, high in _pieces(z0, z1, depth):
            digests = [
                new_plane_digest((height, x, self.info.channels), np.dtype(self.info.dtype))
                for _ in range(low, high)
            ]
            for top, bottom in _pieces(0, height, rows):
                for digest, band in zip(digests, self._box(low, high, top, bottom), strict=True):
                    digest.update(band.reshape(-1).view(np.uint8).data)
            found += [digest.hexdigest() for digest in digests]
        return tuple(found)

    def _chunk(self, axis: str) -> int:
        """Length of a chunk along an axis; 1 slice, or all rows, for data in one piece."""
        chunks = self._dataset.chunks
        if chunks is not None:
            return self._axes.lengths(chunks)[axis]
        return 1 if axis == "z" else self.info.shape[1]

    def _box(self, z0: int, z1: int, y0: int, y1: int) -> NDArray[Any]:
        """Slices z0:z1, rows y0:y1, as (z, y, x, c), C-contiguous, native."""
        chosen = {"z": slice(z0, z1), "y": slice(y0, y1), "t": 0}
        order = [axis for axis in self._axes.order if axis != "t"]
        with hdf5_errors(self._where, "decoded"):
            stored = self._dataset[
                tuple(chosen.get(axis, slice(None)) for axis in self._axes.order)
            ]
        there = [axis for axis in "zyxc" if axis in order]
        array = stored.transpose([order.index(axis) for axis in there])
        array = array.reshape(z1 - z0, y1 - y0, self.info.shape[2], self.info.channels)
        return np.ascontiguousarray(array, np.dtype(self.info.dtype))


def _pieces(start: int, stop: int, length: int) -> Iterator[tuple[int, int]]:
    """``start:stop`` cut at the multiples of ``length``."""
    while start < stop:
        end = min(stop, (start // length + 1) * length)
        yield start, end
        start = end


def _only_volume(file: h5py.File) -> str:
    if file.id.links.exists(b"ilastikVersion") or file.id.links.exists(b"workflowName"):
        raise InputError(
            "this is a project of ilastik, not a volume",
            file=file.filename,
            expected="a volume",
            found="a project (.ilp)",
            mend="give the volume here; have volume and classifier changed places?",
        )
    paths = dataset_paths(file)
    volumes = [
        path for path in paths if 2 <= file[path].ndim <= 5 and file[path].dtype.kind in "uif"
    ]
    if len(volumes) != 1:
        raise InputError(
            "it is not clear which dataset is the volume",
            file=file.filename,
            expected="exactly one dataset of 2 to 5 axes",
            found=", ".join(volumes[:20]) or "none",
            mend="give its path: file.h5:/path",
        )
    return volumes[0]


def _voxel_type(dataset: h5py.Dataset, where: str) -> VoxelType:
    for name in VOXEL_TYPES:
        if dataset.dtype.newbyteorder("=") == np.dtype(name):
            return name
    raise InputError(
        "pixels of this type cannot be classified",
        file=where,
        expected="uint8, uint16 or float32",
        found=dataset.dtype,
        mend="convert the dataset to one of these types",
    )


def _check_written(dataset: h5py.Dataset, where: str) -> None:
    """HDF5 reads what was never written as zeros, for example after a crash of the writer."""
    if dataset.chunks is None:
        unit, wanted = "bytes", dataset.size * dataset.dtype.itemsize
        written = dataset.id.get_storage_size()
    else:
        grid = [ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
        unit, wanted = "chunks", prod(grid)
        written = dataset.id.get_num_chunks()
        if written == wanted:  # as many as there should be; now, are they where they should be?
            written = _chunks_in_place(dataset, grid)
    if written != wanted:
        raise InputError(
            "the dataset is damaged or incomplete: what was never written would read as zeros",
            file=where,
            expected=f"{wanted} {unit}",
            found=f"{written} {unit} are stored",
            mend="write the file again; if the rest is really zero, copy it with explicit zeros",
        )


def _chunks_in_place(dataset: h5py.Dataset, grid: list[int]) -> int:
    """How many places of the grid of chunks have a stored chunk."""
    there = np.zeros(grid, bool)

    def mark(chunk: Any) -> None:
        place, off = zip(*map(divmod, chunk.chunk_offset, dataset.chunks), strict=True)
        if not any(off) and all(i < n for i, n in zip(place, grid, strict=True)):
            there[place] = True

    dataset.id.chunk_iter(mark)
    return int(np.count_nonzero(there))


def _voxels(dataset: h5py.Dataset, axes: Axes) -> VoxelSize:
    """``element_size_um`` (z, y, x), as some programs write it, else the axistags' resolution."""
    if "element_size_um" in dataset.attrs:
        stored = dataset.attrs.get_id("element_size_um")
        if stored.shape == (3,) and stored.dtype.kind in "uif":
            return voxel_size(np.asarray(dataset.attrs["element_size_um"]).tolist(), "um")
    return axes.voxels
