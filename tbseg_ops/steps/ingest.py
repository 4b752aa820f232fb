"""ingest: the slices become one 3D dataset, volume.h5:/volume (z, y, x or z, y, x, c).

One file per z slab, so that many workers write at once without a parallel HDF5 library;
``volume.h5`` is a virtual dataset over them. A plan that refers has slabs without voxels
(``run.referred``), which plan has written where it could: here what is missing is made.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.hdf5.image import content_of_arrays, image_of, stamp
from tbseg_ops.run import RunFolder, Team
from tbseg_ops.run.finish import Facts, Finished, Made, finish
from tbseg_ops.run.outputs import MASK, RAW, describe, raw_shape
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.plan import Slab, slab_chunk
from tbseg_ops.run.referred import Seen, refer, seen_in, whole_shape
from tbseg_ops.run.result import Progress, StepResult, silent, work_through
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.storage.commit import commit_over


def ingest(*, run: Path, team: Team | None = None, progress: Progress = silent) -> StepResult:
    """Write all slabs of the plan that are not there yet, and the dataset over them.

    InputError if a slice is not what it was when the plan was made.
    """
    folder = RunFolder(run)
    work = partial(_ingest, Workplace(folder))
    slabs = folder.plan.slabs
    result = work_through("ingest", folder, slabs, work, team, progress, short=True)
    if team is None or team.is_root:
        _join(folder)
    return result.model_copy(update={"file": str(folder.volume_file)})


def _ingest(place: Workplace, slab: Slab) -> list[Finished]:
    folder = place.folder
    piece = folder.slab(slab)
    return [finish(folder, piece, lambda: _make(place, slab, piece))]


def put_seen(folder: RunFolder, seen: Mapping[str, Seen]) -> None:
    """The slabs of a plan that refers, as far as their slices were seen while it was made."""
    for slab in folder.plan.slabs:
        if slab.name in seen:
            piece = folder.slab(slab)
            finish(folder, piece, partial(_made, folder, slab, piece, {}, seen[slab.name]))


def _make(place: Workplace, slab: Slab, piece: Piece) -> Made:
    folder = place.folder
    plan, inputs = folder.plan, folder.inputs
    _, rows, columns = plan.read.slices
    slices = folder.source.read(slab.z0, slab.z1, inputs.fingerprints)
    seen, arrays = None, {}
    if plan.refers:
        seen = seen_in(slices, plan.read, slab)
    else:
        raw = np.ascontiguousarray(slices.array[:, rows, columns])
        arrays[RAW] = raw.reshape(raw_shape(plan, plan.slab_box(slab)))
    if place.mask is not None:
        mask = place.mask.read(slab.z0, slab.z1, inputs.mask_fingerprints).array
        arrays[MASK] = (mask[:, rows, columns, 0] != 0).astype(np.uint8)
    return _made(folder, slab, piece, arrays, seen)


def _made(
    folder: RunFolder,
    slab: Slab,
    piece: Piece,
    arrays: dict[str, NDArray[np.generic]],
    seen: Seen | None,
) -> Made:
    """``arrays``: the datasets that hold voxels; ``seen``: where the others are."""
    plan = folder.plan
    content = content_of_arrays(arrays | ({} if seen is None else seen.arrays))

    def fill(file: h5py.File) -> None:
        if seen is not None:
            refer(file, folder, slab, seen)
        for name, array in arrays.items():
            dataset = file.create_dataset(
                name,
                data=array,
                chunks=slab_chunk(plan.read.shape, slab) + array.shape[3:],
                compression="gzip" if name == MASK else None,
                fletcher32=True,  # a flipped bit on disk is an error when read, not a voxel
            )
            describe(dataset, plan)
        stamp(file, key=piece.key, content=content)

    return Made(image_of(fill), Facts(content))


def _join(folder: RunFolder) -> None:
    """Write volume.h5: the slabs one behind the other in z, without copying a voxel."""
    image = image_of(partial(fill_joined, folder))
    path = folder.volume_file
    if not path.exists() or path.read_bytes() != image:
        commit_over(path, image)


def fill_joined(folder: RunFolder, file: h5py.File) -> None:
    """The virtual datasets of volume.h5."""
    plan = folder.plan
    dtypes = {RAW: plan.volume.dtype} | ({MASK: "uint8"} if plan.spec.mask else {})
    for name, dtype in dtypes.items():
        more = (plan.volume.channels,) if name == RAW and plan.volume.channels > 1 else ()
        layout = h5py.VirtualLayout((*plan.read.shape, *more), np.dtype(dtype))
        whole = plan.refers and name == RAW
        _, rows, columns = plan.read.slices
        for slab in plan.slabs:
            held = plan.slab_box(slab).shape
            shape = whole_shape(plan, slab) if whole else (*held, *more)
            source = h5py.VirtualSource(folder.slab(slab).file, name, shape=shape)
            first = plan.read.lo[0]
            layout[slab.z0 - first : slab.z1 - first] = (
                source[:, rows, columns] if whole else source
            )
        describe(file.create_virtual_dataset(name, layout, fillvalue=0), plan)
