"""A volume as one stored array, in any order of its axes: what HDF5, Zarr and N5 have in common.

One time point is dropped; several of images are read as slices, several of volumes are refused
unless one is chosen. Numbers of other types than uint8, uint16 and float32 are taken as float32, as
ilastik takes them. The fingerprint of a slice is that of its decoded pixels.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box
from tbseg_ops.limits import check_slice_bytes, check_slices
from tbseg_ops.selection import Selection
from tbseg_ops.volume.axes import Axes, time_point
from tbseg_ops.volume.fingerprints import new_plane_digest, plane_digest
from tbseg_ops.volume.source import Kind, Slices, Source, VolumeInfo, VoxelType, check_range
from tbseg_ops.volume.types import EXPECTED, note_of, read_as


class ArraySource(Source):
    """An array of 2 to 5 axes; a subclass says how a part of it is decoded."""

    def _describe(
        self,
        where: str,
        name: str,
        *,
        shape: tuple[int, ...],
        chunks: tuple[int, ...] | None,
        dtype: np.dtype[Any],
        axes: Axes,
        selection: Selection,
        kind: Kind,
        notes: Sequence[str] = (),
    ) -> None:
        """``where`` names the array in messages, ``name`` in the names of its slices.

        ``shape``, ``chunks`` (None: in one piece) and ``axes``: as stored. InputError if that is no
        volume, or not what ``selection`` needs.
        """
        self._where, self._chunks = where, chunks
        voxels, more = _voxel_type(dtype, where)
        lengths = axes.lengths(shape)
        if min(lengths.values()) < 1:
            raise InputError(
                "the array is empty",
                file=where,
                expected="at least one voxel",
                found=f"shape {shape}",
            )
        self.warnings: Sequence[str] = (*notes, *more)
        if "z" not in axes.order and lengths["t"] > 1 and selection.time is None:
            axes = replace(axes, order=axes.order.replace("t", "z"))
            lengths = axes.lengths(shape)
            self.warnings = (
                *self.warnings,
                "a series of images: its time points (t) are read as slices (z)",
            )
        self._axes, self._time = axes, time_point(selection.time, lengths["t"], where)
        self.info = VolumeInfo(
            shape=(lengths["z"], lengths["y"], lengths["x"]),
            channels=lengths["c"],
            dtype=voxels,
            voxel_size=axes.voxels.size,
            unit=axes.voxels.unit,
            kind=kind,
        )
        check_slice_bytes(self.info.slice_bytes, where)
        check_slices(lengths["z"], where)
        self.layers = min(self._chunk("z"), lengths["z"])
        self.slices: Sequence[str] = tuple(f"{name} z={z}" for z in range(lengths["z"]))

    @abstractmethod
    def _decoded(self, part: tuple[slice | int, ...]) -> NDArray[Any]:
        """A part of the array, an index for each stored axis; InputError if it is damaged."""

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``. Ask for whole chunks: each call decodes all it touches."""
        check_range(z0, z1, self.info.shape[0])
        _, y, x = self.info.shape
        array = self._box(Box((z0, 0, 0), (z1, y, x)))
        found = tuple(plane_digest(plane) for plane in array)
        for z, fingerprint in enumerate(found, start=z0):
            self._check_planned(z, fingerprint, planned)
        return Slices(array, found)

    def window(self, box: Box) -> NDArray[Any]:
        """See ``Source.window``. Decodes the chunks that the box touches."""
        return self._box(box)

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
                band = self._box(Box((low, top, 0), (high, bottom, x)))
                for digest, rows_of_slice in zip(digests, band, strict=True):
                    digest.update(rows_of_slice.reshape(-1).view(np.uint8).data)
            found += [digest.hexdigest() for digest in digests]
        return tuple(found)

    def _chunk(self, axis: str) -> int:
        """Length of a chunk along an axis; 1 slice, or all rows, for data in one piece."""
        if self._chunks is not None:
            return self._axes.lengths(self._chunks)[axis]
        return 1 if axis == "z" else self.info.shape[1]

    def _box(self, box: Box) -> NDArray[Any]:
        """The voxels of a box as (z, y, x, c), C-contiguous, native."""
        z, y, x = box.slices
        chosen: dict[str, slice | int] = {
            **{"z": z, "y": y, "x": x},
            **{"c": slice(0, self.info.channels), "t": self._time},
        }
        stored = self._decoded(tuple(chosen[axis] for axis in self._axes.order))
        order = [axis for axis in self._axes.order if axis != "t"]
        there = [axis for axis in "zyxc" if axis in order]
        array = stored.transpose([order.index(axis) for axis in there])
        array = array.reshape(*box.shape, self.info.channels)
        return np.ascontiguousarray(array, np.dtype(self.info.dtype))


def _pieces(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """start:stop cut at the multiples of ``step``."""
    while start < stop:
        end = min(stop, (start // step + 1) * step)
        yield start, end
        start = end


def _voxel_type(dtype: np.dtype[Any], where: str) -> tuple[VoxelType, tuple[str, ...]]:
    """What the values are read as, and a note if that is another type."""
    name = dtype.newbyteorder("=").name
    if (found := read_as(name)) is not None:
        return found, note_of(name)
    raise InputError(
        "pixels of this type cannot be classified",
        file=where,
        expected=EXPECTED,
        found=dtype,
        mend="convert the dataset to uint8, uint16 or float32",
    )
