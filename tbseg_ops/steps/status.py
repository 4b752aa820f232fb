"""status: how far a run is, from its records; no file is opened or digested."""

from pathlib import Path

from tbseg_ops.run import RunFolder
from tbseg_ops.run.model import Stored
from tbseg_ops.run.records import Record
from tbseg_ops.steps.classify import wanted_key
from tbseg_ops.steps.merge import WHOLE, merge_key
from tbseg_ops.steps.verify import verify_key


class StepStatus(Stored):
    """Pieces of one step that are finished under the present plan, and the others by name."""

    step: str
    done: int
    total: int
    missing: tuple[str, ...]


class Status(Stored):
    """The state of a run folder."""

    run: str
    steps: tuple[StepStatus, ...]
    segmentation: str | None
    verified: bool


def status(*, run: Path) -> Status:
    """Compare the records of a run with its plan. ConfigError if ``run`` has no plan."""
    folder = RunFolder(run)
    plan, inputs = folder.plan, folder.inputs
    ingest, classify = folder.records("ingest"), folder.records("classify")
    slabs = {}
    for slab in plan.slabs:
        done = ingest.get(slab.name)
        slabs[slab.name] = done is not None and done.key == plan.slab_key(inputs, slab)
    split_done: dict[str, bool] = {}
    classified = {}
    for tile in plan.grid:
        key = wanted_key(folder, tile)
        split_done[tile.name] = key is not None
        record = classify.get(tile.name)
        if record is not None and record.key == key:
            classified[tile.name] = record
    steps = [
        _status("ingest", slabs),
        _status("split", split_done),
        _status("classify", {tile.name: tile.name in classified for tile in plan.grid}),
    ]
    whole = len(classified) == len(plan.grid)
    key = merge_key(plan, list(classified.values())) if whole else ""
    merged = folder.records("merge").get(WHOLE)
    verified = folder.records("verify").get(WHOLE)
    is_merged = whole and merged is not None and merged.key == key and _whole(folder, merged)
    is_verified = is_merged and verified is not None and verified.key == verify_key(key)
    steps += [_status("merge", {WHOLE: is_merged}), _status("verify", {WHOLE: is_verified})]
    return Status(
        run=str(folder.path),
        steps=tuple(steps),
        segmentation=str(folder.segmentation_file) if is_merged else None,
        verified=is_verified,
    )


def _whole(folder: RunFolder, merged: Record) -> bool:
    path = folder.segmentation_file
    return path.is_file() and path.stat().st_size == merged.size


def _status(step: str, done: dict[str, bool]) -> StepStatus:
    missing = tuple(name for name, finished in done.items() if not finished)
    return StepStatus(step=step, done=len(done) - len(missing), total=len(done), missing=missing)
