"""split: one HDF5 sub-volume per tile, halo included, which ilastik opens as it is.

``virtual`` refers to volume.h5, and no voxel is read for it: what a tile holds is recorded when it
is read to be classified. ``copy`` writes the voxels, and the file can be shipped to a node.
"""

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, opened, stamp
from tbseg_ops.run import RunFolder, Team
from tbseg_ops.run.done import how, recorded
from tbseg_ops.run.finish import Facts, Finished, Made, finish
from tbseg_ops.run.outputs import MASK, RAW, describe, raw_shape
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.raw import SubVolume, read_volume
from tbseg_ops.run.records import NOT_READ
from tbseg_ops.run.result import Progress, StepResult, silent, work_through
from tbseg_ops.run.takeover import as_taken
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.storage.commit import set_aside


def split(
    *,
    run: Path,
    batch: int | None = None,
    tiles: tuple[str, ...] | None = None,
    again: bool = False,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Write the sub-volumes of a batch or of all; anew the named ``tiles``, or ``again``.

    None is written for a tile that is classified already, here or in an earlier run that has no
    sub-volume of it any more. IntegrityError if a slab is missing or damaged.
    """
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    work = partial(_split, Workplace(folder), again or tiles is not None)
    return work_through("split", folder, wanted, work, team, progress, short=True)


def _split(place: Workplace, force: bool, index: int) -> list[Finished]:
    folder = place.folder
    tile = folder.plan.grid[index]
    unneeded = None if force else _unneeded(folder, tile)
    return [unneeded or split_tile(folder, tile, force=force)]


def _unneeded(folder: RunFolder, tile: Tile) -> Finished | None:
    """Finished without a file, if that is nowhere but the classes made of it are; else None."""
    piece = folder.sub_volume(tile)
    known = next(recorded(folder, piece), None)
    if known is None or known.record.content == NOT_READ or how(folder, piece) != "computed":
        return None
    if how(folder, folder.classes(tile, known.record.content)) == "computed":
        return None
    if known.run is folder:
        return Finished(known.record, "here")
    return Finished(folder.put(as_taken(known, piece, kept=False)), "taken")


def split_tile(folder: RunFolder, tile: Tile, *, force: bool = False) -> Finished:
    """The sub-volume of one tile, made where it is missing or ``force``."""
    piece = folder.sub_volume(tile)
    return finish(folder, piece, lambda: _make(folder, tile, piece), force=force)


def read_tile(folder: RunFolder, tile: Tile) -> tuple[SubVolume, str]:
    """The voxels of a tile and the digest of their content.

    The sub-volume is made, or made again, where it is missing or is not what was recorded.
    IntegrityError if a slab that is needed is missing or damaged.
    """
    if folder.plan.spec.split == "virtual":
        return _read_referred(folder, tile)
    for attempt in range(2):
        record = split_tile(folder, tile, force=attempt > 0).record
        path = folder.path / record.file
        try:
            part = _read_file(folder, tile, path)
            found = content_of_arrays(part.arrays)
            if found == record.content:
                return part, found
        except IntegrityError:
            found = "an unreadable file"
        if attempt == 0:
            set_aside(path)
    raise IntegrityError(
        "the sub-volume of a tile is damaged again right after it was made",
        file=path,
        tile=tile.name,
        expected=f"content {record.content[:16]}",
        found=found,
        mend="look after the disk; then give the command again",
    )


def _read_referred(folder: RunFolder, tile: Tile) -> tuple[SubVolume, str]:
    """Out of the slabs, which are checked when they are read; what was found is recorded."""
    record = split_tile(folder, tile).record
    part = read_volume(folder, tile.box, tile.core)
    found = content_of_arrays(part.arrays)
    if record.content != found:
        folder.put(record.model_copy(update={"content": found}))
    return part, found


def _read_file(folder: RunFolder, tile: Tile, path: Path) -> SubVolume:
    plan = folder.plan
    with opened(path) as file:
        raw = file[RAW][...].reshape(*tile.box.shape, plan.volume.channels)
        return SubVolume(raw, file[MASK][...] if plan.spec.mask is not None else None)


def _make(folder: RunFolder, tile: Tile, piece: Piece) -> Made:
    plan = folder.plan
    if plan.spec.split == "virtual":
        facts, write = Facts(NOT_READ), partial(refer_to_volume, folder, tile)
    else:
        part = read_volume(folder, tile.box, tile.core)
        facts = Facts(content_of_arrays(part.arrays), not_finite=count_not_finite(part.raw))
        write = partial(_copy, part)

    def fill(file: h5py.File) -> None:
        write(file)
        for dataset in file.values():
            describe(dataset, plan)
        stamp(file, key=piece.key)
        if facts.content != NOT_READ:
            stamp(file, content=facts.content, not_finite=facts.not_finite)
        box, core = (each.shifted(plan.part.lo) for each in (tile.box, tile.core))
        stamp(file, box=[box.lo, box.hi], core=[core.lo, core.hi])

    return Made(image_of(fill), facts)


def _copy(part: SubVolume, file: h5py.File) -> None:
    for name, array in part.arrays.items():
        file.create_dataset(name, data=array, compression="gzip" if name == MASK else None)


def refer_to_volume(folder: RunFolder, tile: Tile, file: h5py.File) -> None:
    """The virtual datasets of a sub-volume."""
    plan = folder.plan
    there = {RAW: (tile.box, raw_shape(plan, tile.box), plan.volume.dtype)}
    if plan.spec.mask is not None:
        there[MASK] = tile.core, tile.core.shape, "uint8"
    for name, (box, shape, dtype) in there.items():
        layout = h5py.VirtualLayout(shape, np.dtype(dtype))
        source = h5py.VirtualSource(
            f"../{folder.volume_file.name}", name, shape=(*plan.read.shape, *shape[3:])
        )
        layout[...] = source[box.shifted(plan.part.lo).relative_to(plan.read.lo).slices]
        file.create_virtual_dataset(name, layout)
