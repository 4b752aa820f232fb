"""Slabs that hold no voxels: where they lie in the slices, and a checksum of each chunk of them.

A chunk is small, so that a tile's box reads little that it does not need. What is read is compared
chunk by chunk with what was there when the slices had the fingerprints of the plan; the first that
differs has the fingerprint of its slices taken anew, to say which it is. For other programs the
file has a dataset of whole slices, stored in their files (HDF5's external storage); tbseg itself
never opens that: it takes the names of the slices from the plan, and from here numbers only.
"""

import zlib
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError, IntegrityError, system_errors
from tbseg_ops.geometry import Box, Index
from tbseg_ops.hdf5.image import stamp, stamped
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import RAW, describe
from tbseg_ops.run.plan import CHECKED, Plan, Slab
from tbseg_ops.storage.stale import once_more
from tbseg_ops.stored import digest_of
from tbseg_ops.volume import Slices
from tbseg_ops.volume.source import Pixels

if TYPE_CHECKING:
    from tbseg_ops.volume.source import InFiles

_CHECKS, _OFFSETS = "checks", "offsets"


@dataclass(frozen=True)
class Seen:
    """What a slab records of its slices: where their pixels are, a CRC-32 of each chunk (z, y, x)
    of what the run reads of them."""

    pixels: Pixels
    checks: NDArray[np.uint32]

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The datasets that say it."""
        return {_CHECKS: self.checks, _OFFSETS: np.asarray(self.pixels.offsets, np.int64)}


def seen_in(slices: Slices, read: Box, slab: Slab) -> Seen:
    """``slices``: those of the slab; ``read``: what the run reads of the volume.

    InputError if they are not stored as they are.
    """
    if slices.pixels is None:
        raise InputError(
            "the slices changed while they were read",
            found="slices whose pixels are not stored as they are",
            mend="make the plan again (tbseg plan, or the task plan)",
        )
    _, rows, columns = read.slices
    array = slices.array[:, rows, columns]
    return Seen(slices.pixels, _checks(array, CHECKED))


def refer(file: h5py.File, folder: RunFolder, slab: Slab, seen: Seen) -> None:
    """Write into the file of a slab where its voxels are, and what they must be."""
    plan, source = folder.plan, cast("InFiles", folder.source)
    shape = whole_shape(plan, slab)
    size = plan.volume.slice_bytes
    there = [
        (source.path(z), offset, size)
        for z, offset in zip(range(slab.z0, slab.z1), seen.pixels.offsets, strict=True)
    ]
    dataset = file.create_dataset(RAW, shape, np.dtype(seen.pixels.dtype), external=there)
    describe(dataset, plan)
    for name, array in seen.arrays.items():
        file.create_dataset(name, data=array, chunks=array.shape, fletcher32=True)
    stamp(file, stored=seen.pixels.dtype, listed=_listed(dataset))


def lists_what_it_did(file: h5py.File) -> bool:
    """Whether a slab names the same places in slices to other programs as when it was written.

    They are not compared with the slices of the plan, which may have moved. Slabs of an earlier
    tbseg, and those that hold voxels, do not say.
    """
    listed = stamped(file, "listed")
    return not listed or listed == _listed(file[RAW])


def _listed(dataset: h5py.Dataset) -> str:
    return digest_of([list(place) for place in dataset.external or ()])


def whole_shape(plan: Plan, slab: Slab) -> tuple[int, ...]:
    """Of the slices of a slab, of which the run may read a part: z, y, x, and c if there are."""
    more = (plan.volume.channels,) if plan.volume.channels > 1 else ()
    return (slab.z1 - slab.z0, *plan.volume.shape[1:], *more)


def read_referred(
    folder: RunFolder, slab: Slab, file: h5py.File, array: NDArray[np.generic], box: Box
) -> None:
    """Read what a slab has of ``box`` (in coordinates of the tiles) into ``array``, checked.

    InputError if a slice is not the planned one, IntegrityError if the slab is damaged.
    """
    plan = folder.plan
    held = plan.slab_box(slab)
    part = held.intersection(box)
    if part is None:
        return
    seen = _recorded(file, plan, slab)
    wanted = part.relative_to(held.lo)
    first = tuple(lo // c for lo, c in zip(wanted.lo, CHECKED, strict=True))
    last = tuple(ceil(hi / c) for hi, c in zip(wanted.hi, CHECKED, strict=True))
    whole = _box(
        [i * c for i, c in zip(first, CHECKED, strict=True)],
        [min(i * c, n) for i, c, n in zip(last, CHECKED, held.shape, strict=True)],
    )
    axes = [np.arange(lo, hi) for lo, hi in zip(whole.lo, whole.hi, strict=True)]
    voxels = once_more(_picked, folder, slab, seen.pixels, axes)
    expected = seen.checks[tuple(slice(i, j) for i, j in zip(first, last, strict=True))]
    if not np.array_equal(_checks(voxels, CHECKED), expected):
        _accuse(folder, slab, Path(file.filename))
    inside = voxels[wanted.relative_to(whole.lo).slices]
    target = array[part.relative_to(box.lo).slices]
    target[...] = inside.reshape(target.shape)


def picked(
    folder: RunFolder,
    slab: Slab,
    file: h5py.File,
    zs: NDArray[np.int64],
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
) -> NDArray[np.generic]:
    """Some voxels of a slab (z, y, x, c), for a viewer: they are not compared with anything."""
    seen = _recorded(file, folder.plan, slab)
    return _picked(folder, slab, seen.pixels, [zs, ys, np.arange(xs[0], xs[-1] + 1)])[
        :, :, xs - xs[0]
    ]


def _picked(
    folder: RunFolder, slab: Slab, pixels: Pixels, axes: list[NDArray[np.int64]]
) -> NDArray[np.generic]:
    """Planes, rows, and a range of columns of a slab, (z, y, x, c), out of the slices."""
    from tbseg_ops.run.rows import read_rows  # numba is loaded by whoever reads voxels

    plan, source, (zs, ys, xs) = folder.plan, cast("InFiles", folder.source), axes
    (_, y0, x0), (_, _, width) = plan.read.lo, plan.volume.shape
    dtype = np.dtype(pixels.dtype)
    voxel = dtype.itemsize * plan.volume.channels
    found = np.empty((len(zs), len(ys), len(xs), plan.volume.channels), dtype)
    rows = ((ys + y0) * width + xs[0] + x0) * voxel
    for plane, z in zip(found, zs, strict=True):
        number = slab.z0 + int(z)
        into = plane.view(np.uint8).reshape(len(ys), -1)
        with system_errors(source.path(number)), source.open(number) as slice_:
            if not read_rows(slice_.fileno(), rows + pixels.offsets[int(z)], into):
                _check_fingerprint(folder, number)
                raise _other(source.path(number), "the slice was changed while it was read")
    return found.astype(plan.volume.dtype, copy=False)


def _recorded(file: h5py.File, plan: Plan, slab: Slab) -> Seen:
    offsets, checks, dtype = file[_OFFSETS][...], file[_CHECKS][...], stamped(file, "stored")
    shape = plan.slab_box(slab).shape
    expected = tuple(ceil(n / c) for n, c in zip(shape, CHECKED, strict=True))
    if (checks.shape, offsets.shape) != (expected, shape[:1]) or offsets.min() < 0:
        raise _other(file.filename, "a slab of the volume has another form than planned")
    native = np.dtype(plan.volume.dtype)
    if dtype not in {native.str, native.newbyteorder("S").str}:
        raise _other(file.filename, "a slab of the volume has another type than planned")
    return Seen(Pixels(tuple(map(int, offsets)), dtype), checks)


def _accuse(folder: RunFolder, slab: Slab, path: Path) -> None:
    """The voxels are not the planned ones: InputError for the slice, or the slab is wrong."""
    for z in range(slab.z0, slab.z1):
        _check_fingerprint(folder, z)
    raise _other(path, "the slices are as planned, but not as this file has them, or were changed")


def _check_fingerprint(folder: RunFolder, z: int) -> None:
    once_more(folder.source.read, z, z + 1, folder.inputs.fingerprints)


def _other(path: str | Path, what: str) -> IntegrityError:
    return IntegrityError(what, file=path, mend="run tbseg ingest again")


def _checks(array: NDArray[np.generic], chunk: Index) -> NDArray[np.uint32]:
    """A CRC-32 of each chunk of an array (z, y, x, c)."""
    counts = [ceil(n / c) for n, c in zip(array.shape, chunk, strict=False)]
    found = np.empty(counts, np.uint32)
    for at in np.ndindex(*counts):
        part = tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, chunk, strict=True))
        found[at] = zlib.crc32(np.ascontiguousarray(array[part]).data)
    return found


def _box(lo: list[int], hi: list[int]) -> Box:
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))
