"""split: one HDF5 sub-volume per tile, halo included, which ilastik opens as it is.

``copy`` writes the voxels (the file can be shipped to a node); ``virtual`` refers to volume.h5.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, opened, stamp
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.finish import Done, Facts, How, Made, finish, put
from tbseg_ops.run.outputs import MASK, RAW, describe
from tbseg_ops.run.raw import SubVolume, read_volume
from tbseg_ops.run.result import Progress, StepResult, counted, silent, told
from tbseg_ops.run.takeover import as_taken, find, recorded
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.storage.commit import set_aside


def split(
    *,
    run: Path,
    batch: int | None = None,
    tiles: tuple[str, ...] | None = None,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Write the sub-volumes of a batch, of the named tiles (made anew), or of all.

    None is written for a tile that is classified already, here or in an earlier run that has no
    sub-volume of it any more. IntegrityError if a slab is missing or damaged.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    hows: Counter[How] = Counter()
    with folder.swept(team.is_root):
        for done in team.map(_Split(Workplace.of(folder), force=tiles is not None), wanted):
            hows[done.how] += 1
            progress(done.record.name, told(done), hows.total(), len(wanted))
    return counted("split", hows, time.perf_counter() - start)


@dataclass(frozen=True)
class _Split:
    place: Workplace
    force: bool

    def __call__(self, index: int) -> Done:
        folder = self.place.folder
        tile = folder.plan.grid[index]
        unneeded = None if self.force else _unneeded(folder, tile)
        return unneeded or split_tile(folder, tile, force=self.force)


def _unneeded(folder: RunFolder, tile: Tile) -> Done | None:
    """Done without a file, if the tile's content is known and its classes are there; else None."""
    key = folder.plan.split_key(folder.inputs, tile)
    own = folder.records("split").get(tile.name)
    if own is not None and own.key == key:
        wanted = not own.kept and _is_classified(folder, tile, own.content)
        return Done(own, "here") if wanted else None
    earlier = list(recorded(folder, "split", tile.name, key))
    if not earlier or any(found.is_there for found in earlier):
        return None  # it is taken over like any other piece
    known = earlier[0]
    if not _is_classified(folder, tile, known.record.content):
        return None
    file = folder.relative(folder.tile_file(tile.name, key))
    return Done(put(folder, as_taken(known, file, kept=False)), "taken")


def _is_classified(folder: RunFolder, tile: Tile, content: str) -> bool:
    key = folder.plan.classify_key(content, tile)
    here = folder.records("classify").current(tile.name, key)
    return here is not None or find(folder, "classify", tile.name, key) is not None


def split_tile(folder: RunFolder, tile: Tile, *, force: bool = False) -> Done:
    """The sub-volume of one tile, made where it is missing, damaged or ``force``."""
    key = folder.plan.split_key(folder.inputs, tile)
    path = folder.tile_file(tile.name, key)
    return finish(
        folder, "split", tile.name, key, path, lambda: _make(folder, tile, key), force=force
    )


def read_tile(folder: RunFolder, tile: Tile) -> tuple[SubVolume, str]:
    """The voxels of a tile and the digest of their content.

    The sub-volume is made, or made again, where it is missing or is not what was recorded.
    """
    for attempt in range(2):
        record = split_tile(folder, tile).record
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


def _make(folder: RunFolder, tile: Tile, key: str) -> Made:
    plan = folder.plan
    part = read_volume(folder, tile.box, tile.core)
    content = content_of_arrays(part.arrays)
    not_finite = count_not_finite(part.raw)

    def fill(file: h5py.File) -> None:
        for name, array in part.arrays.items():
            if plan.spec.split == "copy":
                dataset = file.create_dataset(
                    name, data=array, compression="gzip" if name == MASK else None
                )
            else:
                box = tile.box if name == RAW else tile.core
                layout = h5py.VirtualLayout(shape=array.shape, dtype=array.dtype)
                source = h5py.VirtualSource(
                    f"../{folder.volume_file.name}",
                    name,
                    shape=(*plan.volume.shape, *array.shape[3:]),
                )
                layout[...] = source[box.slices]
                dataset = file.create_virtual_dataset(name, layout)
            describe(dataset, plan)
        stamp(file, key=key, content=content, not_finite=not_finite)
        stamp(file, box=[tile.box.lo, tile.box.hi], core=[tile.core.lo, tile.core.hi])

    return Made(image_of(fill), Facts(content, not_finite=not_finite))
