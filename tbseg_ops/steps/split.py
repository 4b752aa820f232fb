"""split: one HDF5 sub-volume per tile, halo included, which ilastik opens as it is.

``copy`` writes the voxels (the file can be shipped to a node); ``virtual`` refers to volume.h5.
"""

from functools import partial
from pathlib import Path

import h5py

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, opened, stamp
from tbseg_ops.run import RunFolder, Team
from tbseg_ops.run.done import how, recorded
from tbseg_ops.run.finish import Facts, Finished, Made, finish
from tbseg_ops.run.outputs import MASK, RAW, describe
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.raw import SubVolume, read_volume
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
    return work_through("split", folder, wanted, work, team, progress)


def _split(place: Workplace, force: bool, index: int) -> list[Finished]:
    folder = place.folder
    tile = folder.plan.grid[index]
    unneeded = None if force else _unneeded(folder, tile)
    return [unneeded or split_tile(folder, tile, force=force)]


def _unneeded(folder: RunFolder, tile: Tile) -> Finished | None:
    """Finished without a file, if that is nowhere but the classes made of it are; else None."""
    piece = folder.sub_volume(tile)
    known = next(recorded(folder, piece), None)
    if known is None or how(folder, piece) != "computed":
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
    """
    for attempt in range(2):
        record = split_tile(folder, tile, force=attempt > 0).record
        path = folder.path / record.file
        try:
            part = _read_part(folder, tile, path)
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


def _read_part(folder: RunFolder, tile: Tile, path: Path) -> SubVolume:
    plan = folder.plan
    if plan.spec.split == "virtual":
        return read_volume(folder, tile.box, tile.core)
    with opened(path) as file:
        raw = file[RAW][...].reshape(*tile.box.shape, plan.volume.channels)
        return SubVolume(raw, file[MASK][...] if plan.spec.mask is not None else None)


def _make(folder: RunFolder, tile: Tile, piece: Piece) -> Made:
    plan = folder.plan
    part = read_volume(folder, tile.box, tile.core)
    content = content_of_arrays(part.arrays)
    not_finite = count_not_finite(part.raw)
    there = {RAW: tile.box.shifted(plan.part.lo), MASK: tile.core.shifted(plan.part.lo)}

    def fill(file: h5py.File) -> None:
        for name, array in part.arrays.items():
            if plan.spec.split == "copy":
                dataset = file.create_dataset(
                    name, data=array, compression="gzip" if name == MASK else None
                )
            else:
                layout = h5py.VirtualLayout(shape=array.shape, dtype=array.dtype)
                source = h5py.VirtualSource(
                    f"../{folder.volume_file.name}",
                    name,
                    shape=(*plan.read.shape, *array.shape[3:]),
                )
                layout[...] = source[there[name].relative_to(plan.read.lo).slices]
                dataset = file.create_virtual_dataset(name, layout)
            describe(dataset, plan)
        stamp(file, key=piece.key, content=content, not_finite=not_finite)
        box, core = there[RAW], there[MASK]
        stamp(file, box=[box.lo, box.hi], core=[core.lo, core.hi])

    return Made(image_of(fill), Facts(content, not_finite=not_finite))
