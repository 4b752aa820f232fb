"""verify: is the merged file complete, undamaged, current, and without seams?

Every tile's chunks must be the very bytes that were recorded when it was classified; every voxel
must be in exactly one class; and boxes across the seams of tiles are predicted again in one piece.
"""

import socket
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tbseg_ops import __version__
from tbseg_ops.classifier import bit_stable
from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.files import LABELS, chunks_digest, encoded, opened, output_names, raw_chunks
from tbseg_ops.run.model import digest_of
from tbseg_ops.run.plan import seam_boxes
from tbseg_ops.run.records import Record
from tbseg_ops.steps.classify import classified
from tbseg_ops.steps.merge import WHOLE, current_records, merge_key, named
from tbseg_ops.steps.result import Progress, StepResult, silent
from tbseg_ops.steps.split import read_volume
from tbseg_ops.steps.work import Workplace

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
    key = _check_identity(folder) if team.is_root else ""
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


def verify_key(merged: str) -> str:
    """Identity of a verification: what was verified."""
    return digest_of({"step": "verify", "merge": merged})


def _check_identity(folder: RunFolder) -> str:
    """The key of the merged file, if it is the one that belongs to plan and records."""
    key = merge_key(folder, current_records(folder))
    with opened(folder.segmentation_file) as file:
        found = file.attrs.get("key")
    if found != key or folder.records("merge").current(WHOLE, key) is None:
        raise IntegrityError(
            "the merged file does not belong to the tiles as they are now",
            file=folder.segmentation_file,
            expected=f"key {key[:16]}",
            found=f"key {str(found)[:16]}",
            mend=f"tbseg merge --run {folder.path}",
        )
    return key


@dataclass(frozen=True)
class _Check:
    place: Workplace

    def __call__(self, index: int) -> tuple[str, str | None]:
        folder = self.place.folder
        tile = folder.plan.grid[index]
        try:
            return tile.name, _problem(folder, tile)
        except (IntegrityError, OSError, KeyError, RuntimeError) as error:
            return tile.name, str(error).splitlines()[0]


def _problem(folder: RunFolder, tile: Tile) -> str | None:
    """What is wrong with a tile's part of the merged file, if anything."""
    plan = folder.plan
    record = folder.records("classify").get(tile.name)
    if record is None:
        return "has no record"
    if plan.spec.mask is None and sum(record.counts) != tile.core.size:
        return f"its classes hold {sum(record.counts)} voxels instead of {tile.core.size}"
    with opened(folder.segmentation_file) as file:
        if [name for name in output_names(plan) if name not in file]:
            return "a dataset is missing"
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
