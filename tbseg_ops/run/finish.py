"""Finishing a piece of work exactly once: recognise it, adopt it, or make and commit it."""

import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tbseg_ops import __version__
from tbseg_ops.classifier import bit_stable
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.run.commit import commit_new, commit_over, pause, set_aside, storage_errors
from tbseg_ops.run.files import content_of, opened, stamped
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Record, Step, sha256_of


@dataclass(frozen=True)
class Facts:
    """What a record says of a file, and the file (as attributes) of itself.

    Digests of its decoded arrays and of its stored chunks, the voxels of each class, and the values
    that are not finite.
    """

    content: str
    chunks: str = ""
    counts: tuple[int, ...] = ()
    not_finite: int = 0


@dataclass(frozen=True)
class Made:
    """What a step made for one piece: a file image, and what is to be recorded of it."""

    data: bytes
    facts: Facts


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
    facts = made.facts
    if not commit_new(path, made.data):
        facts = _settle(path, key, made, step, name, bit_stable(folder.plan.spec.engine))
    pause("recording", path)
    again = before is not None and before.key == key
    record = _record(
        folder,
        step,
        name,
        key,
        path,
        facts,
        seconds=round(time.perf_counter() - start, 3),
        attempts=before.attempts + 1 if again and before is not None else 1,
    )
    if before is not None and before.file != record.file:
        (folder.path / before.file).unlink(missing_ok=True)
    return Done(record, computed=True)


def _record(
    folder: RunFolder,
    step: Step,
    name: str,
    key: str,
    path: Path,
    facts: Facts,
    *,
    seconds: float = 0.0,
    attempts: int = 1,
) -> Record:
    """Record a committed file, unless the plan has been exchanged in the meantime."""
    record = Record(
        step=step,
        name=name,
        key=key,
        file=folder.relative(path),
        size=path.stat().st_size,
        sha256=sha256_of(path),
        **asdict(facts),
        seconds=seconds,
        attempts=attempts,
        host=socket.gethostname(),
        version=__version__,
    )
    if RunFolder(folder.path).plan != folder.plan:
        raise ConfigError(
            "the plan of this run was changed while the work was going on",
            file=folder.plan_file,
            mend="give the command again: it will follow the new plan",
        )
    folder.records(step).put(record)
    return record


def _adopt(folder: RunFolder, step: Step, name: str, key: str, path: Path) -> Record | None:
    """A record for a committed file that has none, if the file holds what it says; else None."""
    facts = _facts_of(path, key)
    if facts is None:
        set_aside(path)
        return None
    return _record(folder, step, name, key, path, facts)


def _settle(path: Path, key: str, made: Made, step: Step, name: str, exact: bool) -> Facts:
    """Something is under the final name: keep it if it is as good, replace it if it is damaged.

    Two good results of an engine that is not ``exact`` may differ in their last bits: the first
    one counts. The facts of the file that is there in the end.
    """
    there = _facts_of(path, key)
    if there is not None and (there.content == made.facts.content or not exact):
        return there
    if there is not None:
        rival = path.with_name(f"{path.name}.rival-{os.getpid()}")
        commit_over(rival, made.data)
        raise IntegrityError(
            f"two runs of {step} gave different results for the same input and parameters",
            file=path,
            tile=name,
            expected=f"content {there.content[:16]}",
            found=f"content {made.facts.content[:16]} (kept as {rival.name})",
            mend="one of the machines computes wrongly: run tbseg on each of them again, "
            "remove the wrong file, and give the command again",
        )
    with storage_errors(path):
        set_aside(path)
    if commit_new(path, made.data):
        return made.facts
    return _settle(path, key, made, step, name, exact)


def _facts_of(path: Path, key: str) -> Facts | None:
    """What a file says of itself; None if it is damaged, of another key, or says what is untrue.

    ConfigError or ResourceError if it cannot be read for another reason.
    """
    try:
        with opened(path) as file:
            facts = Facts(
                stamped(file, "content"),
                stamped(file, "chunks"),
                tuple(int(n) for n in file.attrs["counts"]) if "counts" in file.attrs else (),
                int(file.attrs.get("not_finite", 0)),
            )
            true = stamped(file, "key") == key and facts.content == content_of(file)
    except IntegrityError:
        return None
    return facts if true and re.fullmatch("([0-9a-f]{64})?", facts.chunks) else None
