"""verify: is the merged file complete, undamaged, current, and without seams?

Every tile's chunks must be the very bytes that were recorded when it was classified; every voxel
must be in exactly one class; and boxes across the seams of tiles are predicted again in one piece.
"""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tbseg_ops.engines import bit_stable
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.hdf5.image import LIBVER, opened, stamped
from tbseg_ops.processes.team import kept
from tbseg_ops.run import Alone, Plan, RunFolder, Team
from tbseg_ops.run.boxes import UNSTABLE_SHARE, box_shares, differences
from tbseg_ops.run.done import arrived
from tbseg_ops.run.finish import new_record
from tbseg_ops.run.outputs import LABELS, chunks_digest, create_merged, encoded, raw_chunks
from tbseg_ops.run.piece import WHOLE, Piece
from tbseg_ops.run.plan import seam_boxes
from tbseg_ops.run.raw import read_volume
from tbseg_ops.run.records import Record
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress, StepResult, silent
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.steps.merge import class_records, is_summed, named, total_counts
from tbseg_ops.steps.soundness import STEPS, unsound
from tbseg_ops.storage.stale import once_more
from tbseg_ops.storage.visibility import looked_again, written

SEAM_BOXES, SEAM_SIDE = 8, 24

_OTHER_COUNTS = "its record counts other voxels of the classes than there are"


def verify(
    *,
    run: Path,
    threads: int = 1,
    boxes: int = SEAM_BOXES,
    deep: bool = False,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Check the merged file against the plan, the records and the classifier itself.

    ``boxes`` of about 24 voxels a side are predicted in one piece and compared: 0 voxels may
    differ (1 % with the engine ilastik, which is not bit-stable). IntegrityError names the tiles
    or boxes; a damaged merged file loses its record, so that merge writes it anew. It also names
    the slabs, sub-volumes and class files that are not there as recorded, if ``deep`` by all their
    bytes; the result is verified then all the same.
    """
    with kept(team or Alone()) as crew:  # three times there is something to be done
        return _verified(RunFolder(run), threads, boxes, deep, crew, progress)


def _verified(
    folder: RunFolder, threads: int, boxes: int, deep: bool, team: Team, progress: Progress
) -> StepResult:
    start = time.perf_counter()
    place, tiles = Workplace(folder, threads), range(len(folder.plan.grid))
    if team.is_root:
        _check_not_pruned(folder)
        folder.records("verify").drop(WHOLE)
        piece, records = check_identity(folder)
    checked = team.map(partial(_check, place), tiles, short=True)
    wrong = _problems(checked, len(tiles), "as recorded", progress)
    if wrong:
        folder.records("merge").drop(WHOLE)
        for name in (name for name, problem in wrong if problem == _OTHER_COUNTS):
            folder.records("classify").drop(name)  # its file has the counts, too
        raise IntegrityError(
            f"the merged file is damaged in {len(wrong)} tiles:\n    "
            + "\n    ".join(f"{name}: {problem}" for name, problem in wrong[:12]),
            file=folder.segmentation_file,
            tile=named([name for name, _ in wrong]),
            mend=f"tbseg repair {folder.quoted} makes anew what is damaged, and only that",
        )
    chosen = seam_boxes(folder.plan.grid, SEAM_SIDE, boxes)
    some = box_shares(folder.plan, folder.plan.spec.engine, chosen, team.workers)
    is_short = bit_stable(folder.plan.spec.engine)  # ilastik takes seconds to start
    predicted = chain.from_iterable(team.map(partial(_seams, place), some, short=is_short))
    wrong = _problems(predicted, len(chosen), "as in one piece", progress)
    if wrong:
        raise IntegrityError(
            "boxes across the seams of tiles are not what the classifier gives in one piece:\n    "
            + "\n    ".join(f"{name}: {problem}" for name, problem in wrong),
            file=folder.segmentation_file,
            mend="a machine computed wrongly, or the engine is not exact: classify the tiles there "
            "again (tbseg classify --tiles) and report this",
        )
    seconds = time.perf_counter() - start
    if team.is_root:
        record = new_record(
            folder.verified(piece), seconds=seconds, content=piece.key, counts=total_counts(records)
        )
        folder.records("verify").put(record)
    damaged = unsound(folder, STEPS, team, progress, deep=deep)
    if damaged:
        raise IntegrityError(
            f"the result is right, but of what it was made from {len(damaged)} pieces are damaged:"
            "\n    " + "\n    ".join(map(str, damaged[:12])),
            file=folder.path,
            mend=f"tbseg repair {folder.quoted} makes them anew",
        )
    return StepResult(
        step="verify",
        computed=len(tiles),
        reused=0,
        seconds=round(seconds, 3),
        file=str(folder.segmentation_file),
    )


def _problems(
    checked: Iterable[tuple[str, str | None]], parts: int, good: str, progress: Progress
) -> list[tuple[str, str]]:
    """The names of the parts with which something is wrong, and what."""
    wrong = []
    for number, (name, problem) in enumerate(checked, start=1):
        if problem is not None:
            wrong.append((name, problem))
        progress(name, problem or good, number, parts)
    return wrong


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


def check_identity(folder: RunFolder) -> tuple[Piece, list[Record]]:
    """The merged file and the records of its tiles.

    IntegrityError if it is not merged from the tiles as they are now, or not of the planned form:
    names, shapes, dtypes, chunks, attributes. Its record is dropped then, so that merge writes it
    anew.
    """
    records = class_records(folder)
    piece = folder.merged(records)
    found: str | None = "no whole file of these tiles"
    if (there := arrived(folder, piece, expected=True)) is not None:
        found = once_more(_unlike, folder, piece)
        if found is None and not is_summed(there.record, records):
            found = "a record that is not the sum of those of the tiles"
    if found is None:
        return piece, records
    folder.records("merge").drop(WHOLE)
    raise IntegrityError(
        "the tiles are not merged, or the merged file is not what was written",
        file=folder.segmentation_file,
        expected=f"a file merged from the {len(records)} tiles as they are now",
        found=found,
        mend=f"tbseg merge --run {folder.quoted}, then verify; or tbseg repair {folder.quoted}",
    )


def _unlike(folder: RunFolder, piece: Piece) -> str | None:
    """What of the merged file is not as planned, if anything; its voxels are not looked at."""
    try:
        with opened(piece.path) as file:
            right = stamped(file, "key") == piece.key
            return _wrong_form(file, folder.plan) if right else "a file of other tiles"
    except IntegrityError as error:
        return f"a damaged file: {error.found}"


def check_bytes(folder: RunFolder, records: Sequence[Record]) -> None:
    """IntegrityError unless the merged file has the very chunks that are recorded of its tiles.

    ``records``: of all class files, in grid order. Nothing is decoded. A file that is not so loses
    its records, so that merge writes it anew and verify looks at it again.
    """
    wrong = once_more(_other_chunks, folder, records)
    if wrong:
        for step in ("verify", "merge"):
            folder.records(step).drop(WHOLE)
        raise IntegrityError(
            f"the merged file is damaged in {len(wrong)} tiles",
            file=folder.segmentation_file,
            tile=named(wrong),
            mend=f"tbseg repair {folder.quoted} writes it anew from the tiles",
        )


def _other_chunks(folder: RunFolder, records: Sequence[Record]) -> list[str]:
    """The tiles of which the merged file has other chunks than are recorded."""
    plan, wrong = folder.plan, []
    with opened(folder.segmentation_file) as file:
        for tile, record in zip(plan.grid, records, strict=True):
            try:
                chunks = chunks_digest(raw_chunks(file, plan, tile.core, tile.core.lo))
            except IntegrityError:
                chunks = ""
            if chunks != record.chunks:
                wrong.append(tile.name)
    return wrong


def _wrong_form(file: h5py.File, plan: Plan) -> str | None:
    """What of the file's objects and attributes is not as planned, if anything."""
    found = _form(file)
    with h5py.File("form", "w", driver="core", backing_store=False, libver=LIBVER) as empty:
        create_merged(empty, plan)
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


def _check(place: Workplace, index: int) -> tuple[str, str | None]:
    """The name of a tile, and what is wrong with its part of the merged file, if anything."""
    folder, tile = place.folder, place.folder.plan.grid[index]
    merged = folder.records("merge").path(WHOLE)

    def is_right() -> bool | None:
        return None if _wrong(folder, tile) else True

    # The root has seen the merged file; this may be another host.
    if looked_again(is_right, folder.segmentation_file, written(merged)):
        return tile.name, None
    return tile.name, _wrong(folder, tile)


def _wrong(folder: RunFolder, tile: Tile) -> str | None:
    try:
        return _problem(folder, tile)
    except IntegrityError as error:
        return error.what


def _problem(folder: RunFolder, tile: Tile) -> str | None:
    plan = folder.plan
    record = folder.records("classify").get(tile.name)
    if record is None:
        return "has no record"
    with opened(folder.segmentation_file) as file:
        if chunks_digest(raw_chunks(file, plan, tile.core, tile.core.lo)) != record.chunks:
            return "its chunks are not those that were recorded"
        labels = file[LABELS][tile.core.slices]
        counts = []
        for number, name in enumerate(encoded(plan.classifier.labels), start=1):
            values = file[f"classes/{name}"][tile.core.slices]
            inside = labels == number
            counts.append(int(np.count_nonzero(inside)))
            if plan.spec.output == "mask":
                wrong = values != inside
            else:
                wrong = (values != 0) & ~(inside if values.ndim == 3 else inside[..., None])
            if wrong.any():
                return f"class {name} and the labels contradict each other"
        outside = int(np.count_nonzero(labels == 0))
        if outside + sum(counts) != labels.size:
            return "a voxel is not in exactly one class"
        if tuple(counts) != record.counts:
            return _OTHER_COUNTS
        if plan.spec.mask is None and outside:
            return f"{outside} voxels have no class"
    return None


def _seams(place: Workplace, boxes: Sequence[Box]) -> list[tuple[str, str | None]]:
    """The names of boxes, and how each differs from what is predicted in one piece, if it does."""
    folder, found = place.folder, []
    stable = bit_stable(folder.plan.spec.engine)
    for box, _, unlike in differences(folder, place.engine, partial(read_volume, folder), boxes):
        allowed = 0 if stable else int(box.size * UNSTABLE_SHARE)
        problems = (
            f"{differing} of {box.size} voxels of {dataset} differ"
            for dataset, (differing, _) in unlike.items()
            if differing > allowed
        )
        found.append((f"seam {box.lo} to {box.hi}", next(problems, None)))
    return found
