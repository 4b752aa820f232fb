"""Finishing a piece of work exactly once: recognise it, adopt it, or make and commit it."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tbseg_ops import __version__
from tbseg_ops.classifier import bit_stable
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.run.commit import commit_new, commit_over, pause, set_aside, storage_errors
from tbseg_ops.run.files import content_of, opened
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Record, Step, sha256_of


@dataclass(frozen=True)
class Made:
    """What a step made for one piece: a file image, and what its record says of it."""

    data: bytes
    content: str
    chunks: str = ""
    counts: tuple[int, ...] = ()
    not_finite: int = 0


@dataclass(frozen=True)
class Done:
    """A finished piece, and whether this call computed it."""

    record: Record
    computed: bool


def finish(
    folder: RunFolder,
    step: Step,
    name: str,
    key: str,
    path: Path,
    make: Callable[[], Made],
    *,
    force: bool = False,
) -> Done:
    """The record of a piece under ``key``, made by ``make`` where it is missing or ``force``.

    May be called by any number of workers at once: one commits, the others compare. A file that
    was committed without its record (killed in between) is adopted if it holds what it says.
    IntegrityError if two valid results for one key differ; both are kept.
    """
    records = folder.records(step)
    if not force:
        record = records.current(name, key)
        if record is None and path.exists():
            record = _adopt(folder, step, name, key, path)
        if record is not None:
            return Done(record, computed=False)
    before = records.get(name)
    start = time.perf_counter()
    made = make()
    if not commit_new(path, made.data):
        if not bit_stable(folder.plan.spec.engine):
            # Two good results may differ in their last bits: the first one counts.
            record = _adopt(folder, step, name, key, path)
            if record is not None:
                return Done(record, computed=True)
        _settle(path, made, step, name)
    pause("recording", path)
    size, digest = path.stat().st_size, sha256_of(path)
    again = before is not None and before.key == key
    record = Record(
        step=step,
        name=name,
        key=key,
        file=folder.relative(path),
        size=size,
        sha256=digest,
        content=made.content,
        chunks=made.chunks,
        counts=made.counts,
        not_finite=made.not_finite,
        seconds=round(time.perf_counter() - start, 3),
        attempts=before.attempts + 1 if again and before is not None else 1,
        host=socket.gethostname(),
        version=__version__,
    )
    _check_plan(folder)
    records.put(record)
    if before is not None and before.file != record.file:
        (folder.path / before.file).unlink(missing_ok=True)
    return Done(record, computed=True)


def _adopt(folder: RunFolder, step: Step, name: str, key: str, path: Path) -> Record | None:
    """A record for a committed file that has none, if the file holds what it says; else None."""
    try:
        with opened(path) as file:
            attributes = dict(file.attrs)
            content = content_of(file)
    except (IntegrityError, OSError, RuntimeError, ValueError):
        set_aside(path)
        return None
    if attributes.get("key") != key or attributes.get("content") != content:
        set_aside(path)
        return None
    record = Record(
        step=step,
        name=name,
        key=key,
        file=folder.relative(path),
        size=path.stat().st_size,
        sha256=sha256_of(path),
        content=content,
        chunks=str(attributes.get("chunks", "")),
        counts=tuple(int(n) for n in attributes.get("counts", ())),
        not_finite=int(attributes.get("not_finite", 0)),
        seconds=0.0,
        host=socket.gethostname(),
        version=__version__,
    )
    _check_plan(folder)
    folder.records(step).put(record)
    return record


def _settle(path: Path, made: Made, step: Step, name: str) -> None:
    """Something is under the final name: keep it if it is the same, replace it if it is damaged."""
    try:
        with opened(path) as file:
            stored, content = file.attrs.get("content"), content_of(file)
    except (IntegrityError, OSError, RuntimeError, ValueError):
        stored, content = None, ""
    if stored == content == made.content:
        return
    if stored == content:
        rival = path.with_name(f"{path.name}.rival-{os.getpid()}")
        commit_over(rival, made.data)
        raise IntegrityError(
            f"two runs of {step} gave different results for the same input and parameters",
            file=path,
            tile=name,
            expected=f"content {content[:16]}",
            found=f"content {made.content[:16]} (kept as {rival.name})",
            mend="one of the machines computes wrongly: run tbseg on each of them again, "
            "remove the wrong file, and give the command again",
        )
    set_aside(path)
    with storage_errors(path):
        if not commit_new(path, made.data):
            _settle(path, made, step, name)


def _check_plan(folder: RunFolder) -> None:
    """Refuse to record work of a plan that has been exchanged in the meantime."""
    if folder.plan_file.read_bytes() != folder.plan.to_bytes():
        raise ConfigError(
            "the plan of this run was changed while the work was going on",
            file=folder.plan_file,
            mend="give the command again: it will follow the new plan",
        )
