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
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.commit import set_aside
from tbseg_ops.run.files import RAW, content_of_arrays, describe, image_of, opened, raw_shape
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


def read_tile(folder: RunFolder, tile: Tile) -> tuple[NDArray[np.generic], str]:
    """The raw voxels (z, y, x, c) of a tile's halo box, and the digest of their content.

    The sub-volume is made, or made again, where it is missing or is not what was recorded.
    """
    for attempt in range(2):
        record = split_tile(folder, tile).record
        path = folder.path / record.file
        try:
            with opened(path) as file:
                array: NDArray[np.generic] = file[RAW][()]
            found = content_of_arrays({RAW: array})
            if found == record.content:
                return array.reshape(*tile.box.shape, folder.plan.volume.channels), found
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


def read_volume(folder: RunFolder, box: Box) -> NDArray[np.generic]:
    """The raw voxels (z, y, x, c) of a box, straight from volume.h5."""
    _check_slabs(folder, box)
    with opened(folder.volume_file) as file:
        try:
            array: NDArray[np.generic] = file[RAW][box.slices]
        except (OSError, KeyError) as error:
            raise IntegrityError(
                "the volume cannot be read here",
                file=folder.volume_file,
                expected=f"voxels {box.lo} to {box.hi}",
                found=str(error).splitlines()[0][:200],
                mend=_INGEST_AGAIN,
            ) from error
    return array.reshape(*box.shape, folder.plan.volume.channels)


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
    array = read_volume(folder, tile.box).reshape(raw_shape(plan, tile.box))
    content = content_of_arrays({RAW: array})
    not_finite = int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0

    def fill(file: h5py.File) -> None:
        if plan.spec.split == "copy":
            dataset = file.create_dataset(RAW, data=array)
        else:
            whole = raw_shape(plan, Box((0, 0, 0), plan.volume.shape))
            layout = h5py.VirtualLayout(shape=array.shape, dtype=array.dtype)
            source = h5py.VirtualSource(f"../{folder.volume_file.name}", RAW, shape=whole)
            layout[...] = source[tile.box.slices]
            dataset = file.create_virtual_dataset(RAW, layout)
        describe(dataset, plan)
        file.attrs["key"] = key
        file.attrs["content"] = content
        file.attrs["not_finite"] = not_finite
        file.attrs["box"] = [tile.box.lo, tile.box.hi]
        file.attrs["core"] = [tile.core.lo, tile.core.hi]

    return Made(image_of(fill), content, not_finite=not_finite)
