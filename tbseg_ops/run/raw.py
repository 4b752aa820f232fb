"""The raw voxels of any box of the volume, out of the slabs that ingest wrote."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened, stamped
from tbseg_ops.run.done import arrived, own
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import MASK, RAW
from tbseg_ops.run.plan import Slab
from tbseg_ops.run.referred import read_referred
from tbseg_ops.storage.commit import storage_errors


@dataclass(frozen=True)
class SubVolume:
    """What a tile is computed from.

    ``raw`` (z, y, x, c): the voxels of a halo box. ``mask`` (z, y, x), uint8: that of the core, 0
    where nothing is to be computed; None if the run has no mask.
    """

    raw: NDArray[np.generic]
    mask: NDArray[np.uint8] | None

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The datasets as they are stored: no channel axis where there is one channel only."""
        raw = self.raw[..., 0] if self.raw.shape[3] == 1 else self.raw
        return {RAW: raw} | ({} if self.mask is None else {MASK: self.mask})


def read_volume(folder: RunFolder, box: Box, core: Box) -> SubVolume:
    """The raw voxels of ``box`` and the mask of ``core``, a box inside of it, from the slabs.

    Each slab is opened by itself: volume.h5, being virtual, reads as zeros where a slab is missing
    or cannot be opened. IntegrityError if a slab is not the recorded one of this plan, InputError
    if a slice that it refers to is not the planned one.
    """
    plan = folder.plan
    more = (plan.volume.channels,) if plan.volume.channels > 1 else ()
    raw = np.empty((*box.shape, *more), plan.volume.dtype)
    mask = None if plan.spec.mask is None else np.empty(core.shape, np.uint8)
    for slab in plan.slabs:
        held = plan.slab_box(slab)
        if held.intersection(box) is None:
            continue
        with _opened_slab(folder, slab) as file:
            if plan.refers:
                read_referred(folder, slab, file, raw, box)
            else:
                _copy(file[RAW], held, raw, box)
            if mask is not None:
                _copy(file[MASK], held, mask, core)
    return SubVolume(raw.reshape(*box.shape, plan.volume.channels), mask)


@contextmanager
def _opened_slab(folder: RunFolder, slab: Slab) -> Iterator[h5py.File]:
    """A slab that turns out to be damaged loses its record, so that ingest looks into it."""
    piece = folder.slab(slab)
    found = arrived(folder, piece, expected=True) or own(folder, piece)
    with storage_errors(piece.path):
        size = piece.path.stat().st_size if piece.path.exists() else None
    try:
        if found is None or size != found.record.size:
            raise IntegrityError(
                "a slab of the volume is missing, cut off or of an earlier plan",
                file=piece.path,
                expected="a whole file" if found is None else f"{found.record.size} bytes",
                found="no such file" if size is None else f"{size} bytes",
            )
        with opened(piece.path) as file:
            if (key := stamped(file, "key")) != piece.key:
                raise IntegrityError(
                    "a slab of the volume holds something else",
                    file=piece.path,
                    expected=f"key {piece.key[:16]}",
                    found=f"key {key[:16]}",
                )
            yield file
    except IntegrityError as error:
        if found is not None and size == found.record.size:  # else it is seen without looking into
            folder.records("ingest").drop(slab.name)
        error.mend = (
            f"tbseg ingest --run {folder.quoted} makes anew what is missing or damaged;"
            f" tbseg repair {folder.quoted} mends a run that had its result"
        )
        raise


def _copy(dataset: h5py.Dataset, held: Box, array: NDArray[np.generic], box: Box) -> None:
    """Read what ``dataset`` (the voxels of ``held``) has of ``box`` into ``array``."""
    expected = (*held.shape, *array.shape[3:]), array.dtype
    if (dataset.shape, dataset.dtype) != expected:
        raise IntegrityError(
            "a slab of the volume has another form than planned",
            file=dataset.file.filename,
            expected=f"{expected[1]} of shape {expected[0]}",
            found=f"{dataset.dtype} of shape {dataset.shape}",
        )
    part = held.intersection(box)
    if part is not None:
        source = part.relative_to(held.lo).slices
        dataset.read_direct(array, source, part.relative_to(box.lo).slices)
