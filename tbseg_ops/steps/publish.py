"""publish: a self-contained HTML report and an RO-Crate: what was done, and from what."""

import time
from collections.abc import Iterable
from pathlib import Path

from tbseg_ops.errors import IntegrityError
from tbseg_ops.report.crate import RecordsByStep, crate_of
from tbseg_ops.report.page import page_of
from tbseg_ops.run import RunFolder
from tbseg_ops.run.done import arrived
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.run.records import Record, Step
from tbseg_ops.run.result import Progress, StepResult, silent
from tbseg_ops.run.status import Status, status
from tbseg_ops.steps.merge import total_counts
from tbseg_ops.steps.verify import check_bytes, check_identity
from tbseg_ops.storage.commit import commit_over


class Published(StepResult):
    """``file`` is the report, ``result`` the merged file; ``digest`` tells what its arrays hold.

    ``warnings``: why the result may be implausible. ``exported``: what the run was asked to export.
    """

    run: str
    result: str
    digest: str
    crate: str
    warnings: tuple[str, ...] = ()
    exported: tuple[str, ...] = ()


def publish(*, run: Path, progress: Progress = silent) -> Published:
    """Write ``report.html`` and ``ro-crate-metadata.json`` from the merged file and the records.

    IntegrityError if the run is not merged, or the file or its records are not as merged and
    verified: every chunk's bytes are looked at, none is decoded. Also if it was asked for exports
    that are not there.
    """
    start = time.perf_counter()
    folder = RunFolder(run)
    merged, records = check_identity(folder)
    arrived(folder, folder.verified(merged), expected=True)  # else the report calls it unverified
    check_bytes(folder, records)
    _check_counts(folder, records)
    done, state = _done(folder, records), status(run=folder.path)
    _check_exported(folder, state)
    commit_over(folder.report_file, page_of(folder, done, state))
    progress("report", "written", 1, 2)
    commit_over(folder.crate_file, crate_of(folder, done, state))
    progress("crate", "written", 2, 2)
    return Published(
        step="publish",
        computed=1,
        reused=0,
        seconds=round(time.perf_counter() - start, 3),
        file=str(folder.report_file),
        run=str(folder.path),
        result=str(folder.segmentation_file),
        digest=done["merge"][0].content,
        crate=str(folder.crate_file),
        warnings=state.warnings,
        exported=state.exported,
    )


def _check_counts(folder: RunFolder, records: list[Record]) -> None:
    """The report's shares are those that verify counted in the file."""
    verified, counted = folder.records("verify").get(WHOLE), total_counts(records)
    if verified is None or verified.counts in ((), counted):  # an earlier tbseg recorded none
        return
    folder.records("verify").drop(WHOLE)
    raise IntegrityError(
        "the records of the tiles were altered after the result was verified",
        file=folder.path / "records",
        expected=f"voxels of the classes: {verified.counts}",
        found=counted,
        mend=f"tbseg repair {folder.quoted} makes them anew",
    )


def _check_exported(folder: RunFolder, state: Status) -> None:
    """What the run was asked for is there: the report links to it."""
    missing = next((step.missing for step in state.steps if step.step == "export"), ())
    if missing and "export" not in state.pruned:
        raise IntegrityError(
            "what the run was asked for other programs is not exported, or of an earlier result",
            file=folder.exports,
            expected="a finished export of the verified result",
            found=f"not there: {', '.join(missing)}",
            mend=f"tbseg export {folder.quoted}, then tbseg publish --run {folder.quoted}",
        )


def _done(folder: RunFolder, records: list[Record]) -> RecordsByStep:
    """The records of each step; ``records`` are those of classify."""
    return {
        "ingest": _of(folder, "ingest", [s.name for s in folder.plan.slabs]),
        "split": _of(folder, "split", [r.name for r in records]),
        "classify": records,
        "merge": _of(folder, "merge", [WHOLE]),
        "verify": _of(folder, "verify", [WHOLE]),
    }


def _of(folder: RunFolder, step: Step, names: Iterable[str]) -> list[Record]:
    ledger = folder.records(step)
    return [record for name in names if (record := ledger.get(name)) is not None]
