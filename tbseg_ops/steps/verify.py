"""verify: is the merged file complete, undamaged, current, and without seams?

Every tile's chunks must be the very bytes that were recorded when it was classified; every voxel
must be in exactly one class; and boxes across the seams of tiles are predicted again in one piece.
"""

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tbseg_ops import __version__
from tbseg_ops.engines import bit_stable
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.hdf5.image import LIBVER, opened, stamped
from tbseg_ops.run import Alone, Plan, RunFolder, Team
from tbseg_ops.run.keys import WHOLE, merge_key, verify_key
from tbseg_ops.run.outputs import LABELS, chunks_digest, create_outputs, encoded, raw_chunks
from tbseg_ops.run.plan import seam_boxes
from tbseg_ops.run.raw import read_volume
from tbseg_ops.run.records import Record
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress, StepResult, silent
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.steps.classify import classified
from tbseg_ops.steps.merge import current_records, named

SEAM_BOXES, SEAM_SIDE = 8, 24
# What an engine that is not bit-stable may differ by: ilastik's own builds differ in up to 0.1 % of
# the probabilities; in a small box that is some voxels.
_UNSTABLE_SHARE = 0.01


def verify(
    *,
    run: Path,
    threads: int = 1,
    boxes: int = SEAM_BOXES,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Check the merged file against the plan, the records and the classifier itself.

    ``boxes`` of about 24 voxels a side are predicted in one piece and compared: 0 voxels may
    differ (1 % with the engine ilastik, which is not bit-stable). IntegrityError names the tiles
    or boxes; a damaged merged file loses its record, so that merge writes it anew.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    grid = folder.plan.grid
    place = Workplace.of(folder)
    key = ""
    if team.is_root:
        _check_not_pruned(folder)
        folder.records("verify").drop(WHOLE)
        key, _ = check_identity(folder)
    wrong: list[str] = []
    for number, (name, problem) in enumerate(team.map(_Check(place), range(len(grid))), start=1):
        if problem is not None:
            wrong.append(f"{name}: {problem}")
        progress(name, problem or "as recorded", number, len(grid))
    if wrong:
        folder.records("merge").drop(WHOLE)
        raise IntegrityError(
            f"the merged file is damaged in {len(wrong)} tiles:\n    " + "\n    ".join(wrong[:12]),
            file=folder.segmentation_file,
            tile=named([line.partition(":")[0] for line in wrong]),
            mend=f"tbseg merge --run {folder.path} writes it anew from the tiles",
        )
    chosen = seam_boxes(grid, SEAM_SIDE, boxes)
    for number, (box, problem) in enumerate(team.map(_Seam(place, threads), chosen), start=1):
        if problem is not None:
            wrong.append(f"{box.lo} to {box.hi}: {problem}")
        progress(f"seam {box.lo}", problem or "as in one piece", number, len(chosen))
    if wrong:
        raise IntegrityError(
            "boxes across the seams of tiles are not what the classifier gives in one piece:\n    "
            + "\n    ".join(wrong),
            file=folder.segmentation_file,
            mend="a machine computed wrongly, or the engine is not exact: classify the tiles there "
            "again (tbseg classify --tiles) and report this",
        )
    if team.is_root:
        _record(folder, key, time.perf_counter() - start)
    return StepResult(
        step="verify",
        computed=len(grid),
        reused=0,
        seconds=round(time.perf_counter() - start, 3),
        file=str(folder.segmentation_file),
    )


def _check_not_pruned(folder: RunFolder) -> None:
    """ConfigError before anything is forgotten: without slabs a good result would be called bad."""
    if "volume" in pruned(folder):
        raise ConfigError(
            "tbseg gc has removed what the result would be compared with",
            file=folder.pruned_file,
            expected="the slabs of the volume",
            found=f"removed: {', '.join(pruned(folder))}",
            mend="plan the run again and do all steps, to have it computed and verified anew",
        )


def check_identity(folder: RunFolder) -> tuple[str, list[Record]]:
    """The key of the merged file and the records of its tiles.

    IntegrityError if it is not merged from the tiles as they are now, or not of the planned form:
    names, shapes, dtypes, chunks, attributes. Its record is dropped then, so that merge writes it
    anew.
    """
    records = current_records(folder)
    key = merge_key(folder.plan, records)
    if folder.records("merge").current(WHOLE, key) is None:
        found: str | None = "no whole file of these tiles"
    else:
        with opened(folder.segmentation_file) as file:
            right = stamped(file, "key") == key
            found = _wrong_form(file, folder.plan) if right else "a file of other tiles"
        if found is None:
            return key, records
    folder.records("merge").drop(WHOLE)
    raise IntegrityError(
        "the tiles are not merged, or the merged file is not what was written",
        file=folder.segmentation_file,
        expected=f"a file merged from the {len(records)} tiles as they are now",
        found=found,
        mend=f"tbseg merge --run {folder.path}",
    )


def _wrong_form(file: h5py.File, plan: Plan) -> str | None:
    """What of the file's objects and attributes is not as planned, if anything."""
    found = _form(file)
    with h5py.File("form", "w", driver="core", backing_store=False, libver=LIBVER) as empty:
        create_outputs(empty, plan, plan.volume.shape)
        expected = _form(empty)
    if found.keys() != expected.keys():
        return f"objects too many or too few: {', '.join(sorted(found.keys() ^ expected.keys()))}"
    for name, (form, attributes) in expected.items():
        if found[name][0] != form:
            return f"/{name} is {found[name][0]} instead of {form}"
        for key, value in attributes.items():
            if not np.array_equal(found[name][1].get(key, ()), value):
                return f"/{name} has another attribute {key}"
    return None


def _form(file: h5py.File) -> dict[str, tuple[str, dict[str, Any]]]:
    """Of each link: what it leads to, and the attributes there."""
    found = {"": ("the file", dict(file.attrs))}

    def add(name: str, link: object) -> None:
        item = file[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset):
            form = f"{item.dtype} of shape {item.shape} in chunks of {item.chunks}"
        else:
            form = type(link if item is None else item).__name__
        found[name] = form, {} if item is None else dict(item.attrs)

    file.visititems_links(add)
    return found


@dataclass(frozen=True)
class _Check:
    place: Workplace

    def __call__(self, index: int) -> tuple[str, str | None]:
        folder = self.place.folder
        tile = folder.plan.grid[index]
        try:
            return tile.name, _problem(folder, tile)
        except IntegrityError as error:
            return tile.name, error.what


def _problem(folder: RunFolder, tile: Tile) -> str | None:
    """What is wrong with a tile's part of the merged file, if anything."""
    plan = folder.plan
    record = folder.records("classify").get(tile.name)
    if record is None:
        return "has no record"
    if plan.spec.mask is None and sum(record.counts) != tile.core.size:
        return f"its classes hold {sum(record.counts)} voxels instead of {tile.core.size}"
    with opened(folder.segmentation_file) as file:
        if chunks_digest(raw_chunks(file, plan, tile.core, tile.core.lo)) != record.chunks:
            return "its chunks are not those that were recorded"
        labels = file[LABELS][tile.core.slices]
        members = np.zeros(tile.core.shape, np.uint16)
        for number, name in enumerate(encoded(plan.classifier.labels), start=1):
            values = file[f"classes/{name}"][tile.core.slices]
            inside = labels == number
            if plan.spec.output == "mask":
                members += values
                wrong = (values != 0) != inside
            else:
                members += inside
                wrong = (values != 0) & ~(inside if values.ndim == 3 else inside[..., None])
            if wrong.any():
                return f"class {name} and the labels contradict each other"
        outside = labels == 0
        if (members != np.where(outside, 0, 1)).any():
            return "a voxel is not in exactly one class"
        if int(outside.sum()) != tile.core.size - sum(record.counts):
            return "voxels without a class are not those that were recorded"
    return None


@dataclass(frozen=True)
class _Seam:
    place: Workplace
    threads: int

    def __call__(self, box: Box) -> tuple[Box, str | None]:
        folder = self.place.folder
        plan = folder.plan
        halo_box = box.grown(plan.grid_model.halo, plan.volume.shape)
        part = read_volume(folder, halo_box, box)
        engine = self.place.engine(self.threads)
        allowed = 0 if bit_stable(plan.spec.engine) else int(box.size * _UNSTABLE_SHARE)
        arrays, _ = classified(plan, engine, part, box.relative_to(halo_box.lo), str(box.lo))
        with opened(folder.segmentation_file) as file:
            for name, wanted in arrays.items():
                differing = int(np.count_nonzero(file[name][box.slices] != wanted))
                if differing > allowed:
                    return box, f"{differing} of {box.size} voxels of {name} differ"
        return box, None


def _record(folder: RunFolder, key: str, seconds: float) -> None:
    final = folder.segmentation_file
    folder.records("verify").put(
        Record(
            step="verify",
            name=WHOLE,
            key=verify_key(key),
            file=folder.relative(final),
            size=final.stat().st_size,
            sha256=None,
            content=key,
            seconds=round(seconds, 3),
            host=socket.gethostname(),
            version=__version__,
        )
    )
