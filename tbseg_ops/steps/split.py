"""split: one HDF5 sub-volume per tile, halo included, which ilastik opens as it is.

``copy`` writes the voxels (the file can be shipped to a node); ``virtual`` refers to volume.h5.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.run import Alone, Plan, RunFolder, Team
from tbseg_ops.run.commit import set_aside
from tbseg_ops.run.files import (
    MASK,
    RAW,
    content_of_arrays,
    count_not_finite,
    describe,
    image_of,
    opened,
)
from tbseg_ops.run.finish import Done, Made, finish
from tbseg_ops.steps.result import Progress, StepResult, silent, told
from tbseg_ops.steps.work import Workplace


def split(
    *,
    run: Path,
    batch: int | None = None,
    tiles: tuple[str, ...] | None = None,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Write the sub-volumes of a batch, of the named tiles (made anew), or of all.

    IntegrityError if volume.h5 is missing or damaged.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    computed = number = 0
    with folder.swept(team.is_root):
        for done in team.map(_Split(Workplace.of(folder), force=tiles is not None), wanted):
            computed, number = computed + done.computed, number + 1
            progress(done.record.name, told(done), number, len(wanted))
    return StepResult(
        step="split",
        computed=computed,
        reused=number - computed,
        seconds=round(time.perf_counter() - start, 3),
    )


@dataclass(frozen=True)
class _Split:
    place: Workplace
    force: bool

    def __call__(self, index: int) -> Done:
        folder = self.place.folder
        return split_tile(folder, folder.plan.grid[index], force=self.force)


def split_tile(folder: RunFolder, tile: Tile, *, force: bool = False) -> Done:
    """The sub-volume of one tile, made where it is missing, damaged or ``force``."""
    key = folder.plan.split_key(folder.inputs, tile)
    path = folder.tile_file(tile.name, key)
    return finish(
        folder, "split", tile.name, key, path, lambda: _make(folder, tile, key), force=force
    )


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


def read_tile(folder: RunFolder, tile: Tile) -> tuple[SubVolume, str]:
    """The voxels of a tile and the digest of their content.

    The sub-volume is made, or made again, where it is missing or is not what was recorded.
    """
    for attempt in range(2):
        record = split_tile(folder, tile).record
        path = folder.path / record.file
        try:
            with opened(path) as file:
                part = _part_of(file, folder.plan, (slice(None),) * 3, (slice(None),) * 3)
            found = content_of_arrays(part.arrays)
            if found == record.content:
                return part, found
        except (IntegrityError, OSError, KeyError):
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


def read_volume(folder: RunFolder, box: Box, core: Box) -> SubVolume:
    """The raw voxels of ``box`` and the mask of ``core``, straight from volume.h5."""
    _check_slabs(folder, box)
    with opened(folder.volume_file) as file:
        try:
            return _part_of(file, folder.plan, box.slices, core.slices)
        except (OSError, KeyError) as error:
            raise IntegrityError(
                "the volume cannot be read here",
                file=folder.volume_file,
                expected=f"voxels {box.lo} to {box.hi}",
                found=str(error).splitlines()[0][:200],
                mend=_INGEST_AGAIN,
            ) from error


def _part_of(
    file: h5py.File, plan: Plan, box: tuple[slice, ...], core: tuple[slice, ...]
) -> SubVolume:
    raw = file[RAW][box]
    mask = file[MASK][core] if plan.spec.mask is not None else None
    return SubVolume(raw.reshape(*raw.shape[:3], plan.volume.channels), mask)


_INGEST_AGAIN = "run tbseg ingest again: it makes anew what is missing or damaged"


def _check_slabs(folder: RunFolder, box: Box) -> None:
    """A virtual dataset reads zeros where a slab is missing: look before reading, not after."""
    records = folder.records("ingest")
    for slab in folder.plan.slabs:
        if slab.z1 <= box.lo[0] or slab.z0 >= box.hi[0]:
            continue
        record = records.get(slab.name)
        wanted = folder.plan.slab_key(folder.inputs, slab)
        path = folder.slab_file(slab.name, wanted)
        size = path.stat().st_size if path.exists() else None
        if record is None or record.key != wanted or size != record.size:
            raise IntegrityError(
                "a slab of the volume is missing, cut off or of an earlier plan",
                file=path,
                expected="a whole file" if record is None else f"{record.size} bytes",
                found="no such file" if size is None else f"{size} bytes",
                mend=_INGEST_AGAIN,
            )


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
        file.attrs["key"] = key
        file.attrs["content"] = content
        file.attrs["not_finite"] = not_finite
        file.attrs["box"] = [tile.box.lo, tile.box.hi]
        file.attrs["core"] = [tile.core.lo, tile.core.hi]

    return Made(image_of(fill), content, not_finite=not_finite)
