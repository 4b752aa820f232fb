"""repair: set aside what is damaged of a run, and make exactly that anew."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from tbseg_ops.errors import ConfigError, IntegrityError, TbsegError
from tbseg_ops.run import Alone, Inputs, Plan, RunFolder, RunSpec, Team
from tbseg_ops.run.folder import readable
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress, silent
from tbseg_ops.steps.classify import classify
from tbseg_ops.steps.export import export
from tbseg_ops.steps.ingest import ingest
from tbseg_ops.steps.merge import merge
from tbseg_ops.steps.plan import draft
from tbseg_ops.steps.publish import publish
from tbseg_ops.steps.soundness import STEPS, PieceStep, Unsound, unsound
from tbseg_ops.steps.split import split
from tbseg_ops.steps.verify import check_bytes, check_identity, verify
from tbseg_ops.storage.commit import commit_over, set_aside, storage_errors
from tbseg_ops.storage.locks import locked
from tbseg_ops.stored import Stored

StoredT = TypeVar("StoredT", bound=Stored)


class Repaired(Stored):
    """What was damaged, a line each, and was made anew.

    ``result``: the merged file, which is verified; None if the run had not come so far, and goes on
    from here.
    """

    damaged: tuple[str, ...]
    result: str | None
    seconds: float


def repair(
    *, run: Path, threads: int = 1, team: Team | None = None, progress: Progress = silent
) -> Repaired:
    """Make a run right again: all bytes of its files are read, what is damaged is made anew.

    A plan that was altered is made again from what is left of spec, inputs and slices. Damaged
    files are set aside (``*.set-aside-*``), never removed. A run that had been merged is merged,
    verified and published in the end; of another one no tile is computed that was not there.

    ConfigError: what only a person can decide, such as slices that are others now, or a run of
    which ``tbseg gc`` has removed what it could be mended from.
    """
    start, team = time.perf_counter(), team or Alone()
    damaged = _mend_plan(RunFolder(run))
    folder = RunFolder(run)
    traces = folder.segmentation_file, folder.records("merge").path(WHOLE), folder.report_file
    merged = any(path.exists() for path in traces)
    if pruned(folder):
        _check_what_is_kept(folder, team, progress)
    else:
        for step in STEPS:
            found = unsound(folder, [step], team, progress, deep=True)
            _set_aside(folder, found)
            damaged += map(str, found)
            if merged or (found and step != "classify"):
                made = _make(folder, step, threads, team, progress)
                if made > len(found):
                    damaged.append(f"{step}: {made - len(found)} pieces were not there")
        if merged:
            damaged += _mend_result(folder, threads, team, progress)
    return Repaired(
        damaged=tuple(damaged),
        result=str(folder.segmentation_file) if merged else None,
        seconds=round(time.perf_counter() - start, 3),
    )


def _make(folder: RunFolder, step: PieceStep, threads: int, team: Team, progress: Progress) -> int:
    """Do what is left of a step; the number of pieces that were computed."""
    if step == "classify":
        done = classify(run=folder.path, threads=threads, team=team, progress=progress)
    else:
        done = {"ingest": ingest, "split": split}[step](
            run=folder.path, team=team, progress=progress
        )
    return done.computed


def _set_aside(folder: RunFolder, found: Iterable[Unsound]) -> None:
    for one in found:
        if one.of_file:
            with storage_errors(one.path):
                set_aside(one.path)
        folder.records(one.step).drop(one.name)


def _mend_result(folder: RunFolder, threads: int, team: Team, progress: Progress) -> list[str]:
    """Merge, verify, export and publish; what one of them found to be damaged, and mended.

    Each of them forgets what it finds damaged, so that the next round makes it anew.
    """
    told: list[str] = []
    while True:
        try:
            classify(run=folder.path, threads=threads, team=team, progress=progress)
            if told:
                merge(run=folder.path, team=team, progress=progress)
            verify(run=folder.path, threads=threads, team=team, progress=progress)
            export(run=folder.path, team=team, progress=progress)
            publish(run=folder.path, progress=progress)
        except IntegrityError as error:
            line = _told(error)
            if line in told:
                raise
            told.append(line)
        else:
            return told


def _told(error: TbsegError) -> str:
    """What was found to be damaged, on a line."""
    return f"{error.what.splitlines()[0].rstrip(':')} ({error.file})"


def _check_what_is_kept(folder: RunFolder, team: Team, progress: Progress) -> None:
    """ConfigError if something is damaged of a run that has not all it could be mended from."""
    found = unsound(folder, STEPS, team, progress, deep=True)
    problem = str(found[0]) if found else None
    if not found and "segmentation" not in pruned(folder):
        try:
            _, records = check_identity(folder)
            check_bytes(folder, records)
        except IntegrityError as error:
            problem = error.what
    if problem is not None:
        raise ConfigError(
            "a file is damaged, and tbseg gc has removed what it could be mended from",
            file=folder.path,
            expected="a whole run",
            found=f"{problem}; removed: {', '.join(pruned(folder))}",
            mend="plan the run again and do all steps, to have it computed anew from the slices",
        )


def _mend_plan(folder: RunFolder) -> list[str]:
    """Write spec, inputs and plan again where they do not belong together; what was wrong.

    Two of the three decide, under whatever name they are: a plan that is whole knows its spec and a
    digest of its inputs. ConfigError if too little is left.
    """
    try:
        _ = folder.plan, folder.inputs
    except (ConfigError, IntegrityError) as error:
        if not folder.plan_file.exists() and not folder.spec_file.exists():
            raise
        problem = error
    else:
        if folder.spec_file.exists():
            return []
        commit_over(folder.spec_file, folder.plan.spec.to_bytes())
        return [f"there was no spec ({folder.spec_file})"]
    told = [_told(problem)]
    plan, inputs, spec = _left(folder, Plan), _left(folder, Inputs), _left(folder, RunSpec)
    if plan is not None and plan.is_altered:
        plan = None
    if plan is not None and inputs is not None and plan.is_of(inputs):
        with locked(folder.path):
            commit_over(folder.spec_file, plan.spec.to_bytes())
            commit_over(folder.inputs_file, inputs.to_bytes())
            commit_over(folder.plan_file, plan.to_bytes())
        return told
    if plan is not None and (spec is None or spec == plan.spec):
        spec, known = plan.spec, plan.inputs_digest
    elif inputs is not None:
        known = inputs.digest
    else:
        known = None
    if spec is None or known is None:
        raise ConfigError(
            "too little is left of the plan to make it again",
            file=problem.file,
            expected="two of spec.json, inputs.json and plan.json",
            found=problem.what.splitlines()[0].rstrip(":"),
            mend=f"tbseg plan --update VOLUME CLASSIFIER {folder.quoted}: what is finished is"
            " recognised",
        ) from problem
    _plan_again(folder, spec, known, plan)
    return told


def _left(folder: RunFolder, model: type[StoredT]) -> StoredT | None:
    """One of the three, also if it has the name of another: two may have been exchanged."""
    files = (folder.plan_file, folder.inputs_file, folder.spec_file)
    return next(filter(None, (readable(file, model) for file in files)), None)


def _plan_again(folder: RunFolder, spec: RunSpec, inputs_digest: str, before: Plan | None) -> None:
    """ConfigError if the slices are not those that the run was made of: a person decides then."""
    earlier = () if before is None else tuple(map(Path, before.earlier))
    future = draft(spec=spec, run=folder.path, earlier=earlier)
    if future.plan.inputs_digest != inputs_digest:
        raise ConfigError(
            "the plan is damaged, and the volume is not the one that the run was made of",
            file=folder.plan_file,
            expected=f"inputs of digest {inputs_digest[:16]}",
            found=f"digest {future.plan.inputs_digest[:16]}",
            mend="bring back the slices and repair again; or make a run of the new ones: tbseg plan"
            f" --update VOLUME CLASSIFIER {folder.quoted}",
        )
    if before is not None:
        future = future.under(future.plan.in_batches(before.batch_size), future.inputs)
    with locked(folder.path):
        folder.store(future.plan, future.inputs)
