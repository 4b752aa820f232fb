"""status: how far a run is, from its records; no file is opened or digested."""

from pathlib import Path

from tbseg_ops.run import RunFolder
from tbseg_ops.run.keys import WHOLE, merge_key, verify_key
from tbseg_ops.run.records import Record
from tbseg_ops.run.removed import Kind, has_file, pruned
from tbseg_ops.stored import Stored


class StepStatus(Stored):
    """Pieces of one step that are finished under the present plan, and the others by name."""

    step: str
    done: int
    total: int
    missing: tuple[str, ...]


class Status(Stored):
    """The state of a run folder; ``pruned``: kinds of files that ``tbseg gc`` removed from it."""

    run: str
    steps: tuple[StepStatus, ...]
    segmentation: str | None
    verified: bool
    pruned: tuple[Kind, ...] = ()


def status(*, run: Path) -> Status:
    """Compare the records of a run with its plan. ConfigError if ``run`` has no plan.

    In a pruned run that has lost its result, what has lost its file is not done any more.
    """
    folder = RunFolder(run)
    plan, inputs = folder.plan, folder.inputs
    ledgers = [folder.records(step) for step in ("ingest", "split", "classify")]
    slabs, cut, classified = (dict[str, Record]() for _ in ledgers)
    ingest, split, classify = ledgers
    for slab in plan.slabs:
        record = ingest.get(slab.name)
        if record is not None and record.key == plan.slab_key(inputs, slab):
            slabs[slab.name] = record
    for tile in plan.grid:
        record = split.get(tile.name)
        if record is None or record.key != plan.split_key(inputs, tile):
            continue
        cut[tile.name] = record
        key = plan.classify_key(record.content, tile)
        record = classify.get(tile.name)
        if record is not None and record.key == key:
            classified[tile.name] = record
    whole = len(classified) == len(plan.grid)
    key = merge_key(plan, list(classified.values())) if whole else ""
    merged = folder.records("merge").get(WHOLE)
    verified = folder.records("verify").get(WHOLE)
    is_merged = whole and merged is not None and merged.key == key and _whole(folder, merged)
    is_verified = is_merged and verified is not None and verified.key == verify_key(key)
    gone = pruned(folder)
    if gone and not is_verified:
        for records in (slabs, cut, classified):
            for name in [n for n, record in records.items() if not has_file(folder, record)]:
                del records[name]
    tiles = [tile.name for tile in plan.grid]
    return Status(
        run=str(folder.path),
        steps=(
            _status("ingest", {slab.name: slab.name in slabs for slab in plan.slabs}),
            _status("split", {name: name in cut for name in tiles}),
            _status("classify", {name: name in classified for name in tiles}),
            _status("merge", {WHOLE: is_merged}),
            _status("verify", {WHOLE: is_verified}),
        ),
        segmentation=str(folder.segmentation_file) if is_merged else None,
        verified=is_verified,
        pruned=gone,
    )


def _whole(folder: RunFolder, merged: Record) -> bool:
    path = folder.segmentation_file
    return path.is_file() and path.stat().st_size == merged.size


def _status(step: str, done: dict[str, bool]) -> StepStatus:
    missing = tuple(name for name, finished in done.items() if not finished)
    return StepStatus(step=step, done=len(done) - len(missing), total=len(done), missing=missing)
