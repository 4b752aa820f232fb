"""status: how far a run is, from its records; no file is opened or digested."""

from pathlib import Path
from typing import Literal

from tbseg_ops.run import RunFolder
from tbseg_ops.run.done import Found, merged_file, own
from tbseg_ops.run.exports import exports
from tbseg_ops.run.fit import run_warnings
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.run.records import NOT_READ
from tbseg_ops.run.removed import Kind, pruned
from tbseg_ops.stored import Stored

Cut = Literal["none", "lost", "there"]  # a tile's sub-volume


class StepStatus(Stored):
    """Pieces of one step that are finished under the present plan, and the others by name."""

    step: str
    done: int
    total: int
    missing: tuple[str, ...]


class Status(Stored):
    """The state of a run folder; ``pruned``: kinds of files that ``tbseg gc`` removed from it.

    ``verified``: complete and exact. ``warnings``: why it may be implausible all the same.
    ``exported``: what was asked for other programs, and is there.
    """

    run: str
    steps: tuple[StepStatus, ...]
    segmentation: str | None
    verified: bool
    pruned: tuple[Kind, ...] = ()
    warnings: tuple[str, ...] = ()
    exported: tuple[str, ...] = ()


def status(*, run: Path) -> Status:
    """Compare the records of a run with its plan. ConfigError if ``run`` has no plan.

    Nothing else is needed of a run whose result is verified. Otherwise what has lost its file is
    not done; nor does a tile that is classified need its sub-volume.
    """
    folder = RunFolder(run)
    slabs = folder.plan.slabs
    # Of 100,000 tiles only the records that are needed to the end are kept.
    names: list[str] = []
    cut: list[Cut] = []
    classes: list[Found | None] = []
    for tile in folder.plan.grid:
        found = own(folder, folder.sub_volume(tile))
        names.append(tile.name)
        cut.append("none" if found is None else "lost" if found.is_lost else "there")
        known = found is not None and found.record.content != NOT_READ
        piece = folder.classes(tile, found.record.content) if found and known else None
        classes.append(None if piece is None else own(folder, piece))
    merged = merged_file(folder, classes)
    verified = merged is not None and own(folder, folder.verified(merged[1])) is not None

    def done(found: Found | None) -> bool:
        return found is not None and (verified or not found.is_lost)

    ingested = {slab.name: done(own(folder, folder.slab(slab))) for slab in slabs}
    classified = {name: done(found) for name, found in zip(names, classes, strict=True)}
    split = {
        name: classified[name] or how == "there" or (how == "lost" and verified)
        for name, how in zip(names, cut, strict=True)
    }
    gone, key = pruned(folder), merged[1].key if merged is not None and verified else None
    of_files = dict(exports(folder, None if "export" in gone else key))
    exported = {path.name: is_there for path, is_there in of_files.items()}
    return Status(
        run=str(folder.path),
        steps=(
            _status("ingest", ingested),
            _status("split", split),
            _status("classify", classified),
            _status("merge", {WHOLE: merged is not None}),
            _status("verify", {WHOLE: verified}),
            *([_status("export", exported)] if exported else []),
        ),
        segmentation=str(folder.segmentation_file) if merged is not None else None,
        verified=verified,
        pruned=gone,
        warnings=run_warnings(folder, [found.record for found in classes if found is not None]),
        exported=tuple(str(path) for path, is_there in of_files.items() if is_there),
    )


def _status(step: str, done: dict[str, bool]) -> StepStatus:
    missing = tuple(name for name, finished in done.items() if not finished)
    return StepStatus(step=step, done=len(done) - len(missing), total=len(done), missing=missing)
