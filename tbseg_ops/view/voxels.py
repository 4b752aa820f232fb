"""Voxels of a run for viewers: raw from the slabs, the rest from the tiles' class files.

Levels: of level n every 2**n-th voxel is taken on each axis. Nothing is averaged: labels stay
labels, and a far view costs little.
"""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from math import ceil, inf, prod
from time import monotonic
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError, IntegrityError
from tbseg_ops.geometry import Box, Index, Tile
from tbseg_ops.hdf5.image import opened
from tbseg_ops.run.done import own, own_classes
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import RAW, raw_shape
from tbseg_ops.run.plan import Slab
from tbseg_ops.run.referred import picked
from tbseg_ops.view.tiles import RunView

_KEPT_BYTES = 256 << 20  # of tiles seen from afar
FAR = 3  # the level from which on whole tiles are kept in memory, thinned out to this one


def level_shape(shape: Index, level: int) -> Index:
    """Of a volume of ``shape`` (z, y, x), seen at a level."""
    z, y, x = (ceil(n / 2**level) for n in shape)
    return z, y, x


def levels_of(shape: Index, chunk: int = 64) -> int:
    """How many levels there are: the last one is about a chunk large."""
    return max(1, min(10, max(0, (max(shape) - 1) // chunk).bit_length() + 1))


def thinned(lo: int, hi: int, level: int, end: int) -> NDArray[np.int64]:
    """Which voxels of an axis of ``end`` voxels the ``lo`` to ``hi`` of a level are."""
    step = 2**level
    # Levels from FAR on take voxels of FAR: what is kept of that one serves all of them.
    voxels: NDArray[np.int64] = np.arange(lo, hi) * step + min(step, 2**FAR) // 2
    return np.minimum(voxels, end - 1)


def raw_picked(folder: RunFolder, axes: Sequence[NDArray[np.int64]]) -> NDArray[np.generic]:
    """Picked raw voxels (z, y, x, c); 0 where they are not ingested.

    ``axes``: which planes, rows and columns, ascending, from the first that was read
    (``plan.read``).
    """
    plan = folder.plan
    zs, ys, xs = axes
    found = np.zeros((len(zs), len(ys), len(xs), plan.volume.channels), plan.volume.dtype)
    for slab in plan.slabs:
        first = slab.z0 - plan.read.lo[0]
        inside = (zs >= first) & (zs < first + slab.z1 - slab.z0)
        if inside.any():
            with _slab(folder, slab) as file, suppress(InputError):  # a slice that is gone
                if file is not None and plan.refers:
                    found[inside] = picked(folder, slab, file, zs[inside] - first, ys, xs)
                elif file is not None:
                    found[inside] = _picked(file[RAW], zs[inside] - first, ys, xs)
    return found


def raw_box(folder: RunFolder, box: Box, level: int = 0) -> NDArray[np.generic]:
    """Raw voxels (z, y, x, c); ``box``: in voxels of a level, from the first that was read."""
    return raw_picked(folder, _axes(box, level, folder.plan.read.shape))


def _axes(box: Box, level: int, shape: Index) -> list[NDArray[np.int64]]:
    sides = zip(box.lo, box.hi, shape, strict=True)
    return [thinned(lo, hi, level, end) for lo, hi, end in sides]


def _picked(
    dataset: h5py.Dataset, zs: NDArray[np.int64], ys: NDArray[np.int64], xs: NDArray[np.int64]
) -> NDArray[np.generic]:
    """Some voxels of a slab (z, y, x, c), read as they lie: only the planes that are needed.

    The chunks hold plain voxels and a checksum behind them, for which HDF5 would read all of it.
    """
    chunk, shape = dataset.chunks, (len(zs), len(ys), len(xs), *dataset.shape[3:])
    found = np.zeros(shape, dataset.dtype)
    plane = prod(chunk[1:]) * dataset.dtype.itemsize
    file = dataset.file.id.get_vfd_handle()
    for at, (in_z, in_y, in_x) in _chunks_of((zs, ys, xs), chunk[:3]):
        stored = dataset.id.get_chunk_info_by_coord((*at, *(0,) * (dataset.ndim - 3)))
        if stored.byte_offset is None:
            continue
        picks = np.ix_(ys[in_y] - at[1], xs[in_x] - at[2])
        for number, z in enumerate(zs[in_z] - at[0], in_z.start):
            data = os.pread(file, plane, stored.byte_offset + int(z) * plane)
            if len(data) == plane:
                voxels = np.frombuffer(data, dataset.dtype).reshape(chunk[1:])
                found[number, in_y, in_x] = voxels[picks]
    return found.reshape(*shape[:3], -1)


def _chunks_of(
    axes: Sequence[NDArray[np.int64]], chunk: Sequence[int]
) -> Iterator[tuple[Index, tuple[slice, slice, slice]]]:
    """The chunks that picked voxels lie in: where each begins, and which of the picks it has."""
    zs, ys, xs = (list(_in_chunks(a, c)) for a, c in zip(axes, chunk, strict=True))
    for (z, in_z), (y, in_y), (x, in_x) in product(zs, ys, xs):
        yield (z * chunk[0], y * chunk[1], x * chunk[2]), (in_z, in_y, in_x)


def _in_chunks(indices: NDArray[np.int64], chunk: int) -> Iterator[tuple[int, slice]]:
    """The chunks that sorted ``indices`` touch, each with the part of them that lies inside."""
    numbers = indices // chunk
    for number in np.unique(numbers):
        first, last = np.searchsorted(numbers, [number, number + 1])
        yield int(number), slice(int(first), int(last))


@contextmanager
def _slab(folder: RunFolder, slab: Slab) -> Iterator[h5py.File | None]:
    """The file of a slab; None if it is not ingested, or not as planned."""
    piece, plan = folder.slab(slab), folder.plan
    found = own(folder, piece)
    if found is None or not found.is_there:
        yield None
        return
    with opened(piece.path) as file:
        found_form = file[RAW].shape, file[RAW].dtype
        expected = (raw_shape(plan, plan.slab_box(slab)), np.dtype(plan.volume.dtype))
        yield file if plan.refers or found_form == expected else None


class Picked(NamedTuple):
    """Voxels (z, y, x), 0 where there are none yet; None if there are none at all.

    ``complete``: nothing was left out for want of time.
    """

    voxels: NDArray[np.generic] | None
    complete: bool


class Classes:
    """A dataset of the class files of a run (``labels``, ``probabilities/NAME``, ...).

    Of a tile whose class file was removed it is read from the merged file.
    """

    def __init__(self, view: RunView, name: str) -> None:
        self._view, self.name = view, name
        self._kept: OrderedDict[str, tuple[str, NDArray[np.generic]]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def folder(self) -> RunFolder:
        return self._view.folder

    def chunk(self, at: Index) -> bytes | None:
        """A chunk of the merged file's grid as a zlib stream of full size; None if not there.

        As it lies in the tile's file wherever that is such a stream.
        """
        folder = self.folder
        plan = folder.plan
        lo = tuple(a * c for a, c in zip(at, plan.grid_model.chunk, strict=True))
        if any(low >= n for low, n in zip(lo, plan.shape, strict=True)):
            return None
        tile = tile_at(folder, (lo[0], lo[1], lo[2]))
        with self._tile(folder, tile) as held:
            if held is None:
                return None
            dataset, first = held
            z, y, x = (a - b + o for a, b, o in zip(lo, tile.core.lo, first, strict=True))
            if dataset.compression == "gzip" and not dataset.shuffle and not dataset.fletcher32:
                mask, data = dataset.id.read_direct_chunk((z, y, x, *(0,) * (dataset.ndim - 3)))
                if mask == 0:
                    return bytes(data)
            return zlib.compress(_padded(dataset, (z, y, x)).tobytes(), 1)

    def box(self, box: Box, level: int = 0) -> NDArray[np.generic] | None:
        """The voxels (z, y, x) of ``box``, in voxels of a level of the result: see ``picked``."""
        return self.picked(_axes(box, level, self.folder.plan.shape), level).voxels

    def picked(
        self, axes: Sequence[NDArray[np.int64]], level: int = 0, seconds: float = inf
    ) -> Picked:
        """Picked voxels of the result. From ``FAR`` on what takes longer than ``seconds`` is left.

        ``axes``: which planes, rows and columns, ascending; those of ``level`` and no others.
        """
        folder, end, complete = self.folder, monotonic() + seconds, True
        found: NDArray[np.generic] | None = None
        for lo, at in _chunks_of(axes, folder.plan.grid_model.core):
            parts = [axis[part] - low for axis, part, low in zip(axes, at, lo, strict=True)]
            tile = tile_at(folder, lo)
            if level >= FAR and monotonic() > end and tile.name not in self._kept:
                complete = False
                continue
            voxels = self._of_tile(folder, tile, parts, level)
            if voxels is not None:
                if found is None:
                    found = np.zeros([len(axis) for axis in axes], voxels.dtype)
                found[at] = voxels
        return Picked(found, complete)

    def _of_tile(
        self, folder: RunFolder, tile: Tile, parts: list[NDArray[np.int64]], level: int
    ) -> NDArray[np.generic] | None:
        """Picked voxels of a tile, counted from its core's first."""
        if level >= FAR:
            far = self._far(folder, tile)
            kept = zip(_far_voxels(tile), parts, strict=True)
            return None if far is None else far[np.ix_(*(np.searchsorted(k, p) for k, p in kept))]
        with self._tile(folder, tile) as held:
            if held is None:
                return None
            dataset, first = held
            box = tuple(
                slice(int(p[0]) + o, int(p[-1]) + o + 1) for p, o in zip(parts, first, strict=True)
            )
            return np.asarray(dataset[box])[np.ix_(*(p - p[0] for p in parts))]

    def _far(self, folder: RunFolder, tile: Tile) -> NDArray[np.generic] | None:
        """A tile thinned out to the level ``FAR``, kept in memory as long as its record lasts."""
        recorded = own_classes(folder, tile)
        if recorded is None:
            return None
        content = recorded.record.content
        with self._lock:
            kept = self._kept.get(tile.name)
            if kept is not None and kept[0] == content:
                self._kept.move_to_end(tile.name)
                return kept[1]
        with self._tile(folder, tile) as held:
            if held is None:
                return None
            dataset, first = held
            core = tuple(slice(o, o + n) for o, n in zip(first, tile.core.shape, strict=True))
            far: NDArray[np.generic] = dataset[core][np.ix_(*_far_voxels(tile))]
        with self._lock:
            self._kept[tile.name] = (content, far)
            while sum(kept.nbytes for _, kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return far

    @contextmanager
    def _tile(self, folder: RunFolder, tile: Tile) -> Iterator[tuple[h5py.Dataset, Index] | None]:
        """The dataset that holds a tile, and where in it the core begins; None if there is none."""
        found, origin, expected = own_classes(folder, tile), (0, 0, 0), tile.core.shape
        path = None if found is None or not found.is_there else found.path
        if path is None and self._view.whole.merged:
            path, origin, expected = folder.segmentation_file, tile.core.lo, folder.plan.shape
        if path is None:
            yield None
            return
        with opened(path) as file:
            dataset = file[self.name]
            if dataset.shape[:3] != expected:
                raise IntegrityError(
                    "the classes of a tile have another form than planned",
                    file=path,
                    tile=tile.name,
                    expected=f"shape {expected}",
                    found=f"shape {dataset.shape}",
                )
            yield dataset, origin


def _far_voxels(tile: Tile) -> list[NDArray[np.int64]]:
    """Which voxels of a core the levels from ``FAR`` on can take, on each axis."""
    step = 2**FAR
    found = []
    for lo, hi in zip(tile.core.lo, tile.core.hi, strict=True):
        first = lo + (step // 2 - lo) % step
        found.append(np.union1d(np.arange(first, hi, step), [hi - 1]) - lo)
    return found


def tile_at(folder: RunFolder, voxel: Index) -> Tile:
    """The tile whose core holds a voxel of the result."""
    grid = folder.plan.grid
    z, y, x = (a // c for a, c in zip(voxel, grid.core, strict=True))
    return grid.at((z, y, x))


def _padded(dataset: h5py.Dataset, lo: Index) -> NDArray[np.generic]:
    """A chunk in full size, 0 beyond the end of the dataset."""
    found = np.zeros(dataset.chunks, dataset.dtype)
    sides = zip(lo, dataset.chunks[:3], dataset.shape[:3], strict=True)
    box = tuple(slice(a, min(a + c, n)) for a, c, n in sides)
    part = dataset[box]
    found[tuple(slice(0, n) for n in part.shape)] = part
    return found
