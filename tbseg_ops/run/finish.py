"""Finishing a piece of work exactly once: recognise it, adopt it, or make and commit it."""

import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tbseg_ops import __version__
from tbseg_ops.engines import bit_stable
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.hdf5.image import content_of, opened, stamped
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Record, Step, sha256_of
from tbseg_ops.run.takeover import as_taken, find, link
from tbseg_ops.storage.commit import commit_new, commit_over, pause, set_aside, storage_errors


@dataclass(frozen=True)
class Facts:
    """What a record says of a file, and the file (as attributes) of itself.

    Digests of its decoded arrays and of its stored chunks, the voxels of each class, the values
    that are not finite, and the identity of what an engine computed for it (see ``Record``).
    """

    content: str
    chunks: str = ""
    counts: tuple[int, ...] = ()
    not_finite: int = 0
    predicted: str = ""


@dataclass(frozen=True)
class Made:
    """What a step made for one piece: a file image, and what is to be recorded of it.

    ``derived``: see ``Record``.
    """

    data: bytes
    facts: Facts
    derived: bool = False


How = Literal["computed", "derived", "taken", "here"]


@dataclass(frozen=True)
class Done:
    """A finished piece, and what this call did for it.

    *derived*: rewritten from what an engine had computed earlier; *taken*: over from an earlier
    run; *here*: it was done already.
    """

    record: Record
    how: How

    @property
    def computed(self) -> bool:
        return self.how == "computed"


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

    Where an earlier run has the piece it is taken over.

    May be called by any number of workers at once: one commits, the others compare. A file that
    was committed without its record (killed in between) is adopted if it holds what it says.
    IntegrityError if two valid results for one key differ; both are kept.
    """
    records = folder.records(step)
    if not force:
        record = records.current(name, key)
        how: How = "here"
        if record is None and not path.exists():
            record, how = _take_over(folder, step, name, key, path), "taken"
        if record is None and path.exists():
            record, how = _adopt(folder, step, name, key, path), "here"
        if record is not None:
            return Done(record, how)
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
        derived=made.derived,
    )
    _drop_file_of(before, record, folder)
    return Done(record, "derived" if made.derived else "computed")


def _take_over(folder: RunFolder, step: Step, name: str, key: str, path: Path) -> Record | None:
    """The record of a piece that an earlier run has, and its file linked to ``path``."""
    found = find(folder, step, name, key)
    if found is None or not link(found, path):
        return None
    pause("recording", path)
    before = folder.records(step).get(name)
    record = put(folder, as_taken(found, folder.relative(path)))
    _drop_file_of(before, record, folder)
    return record


def _drop_file_of(before: Record | None, record: Record, folder: RunFolder) -> None:
    """Remove the file that ``record`` has replaced."""
    if before is not None and before.file != record.file:
        (folder.path / before.file).unlink(missing_ok=True)


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
    derived: bool = False,
) -> Record:
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
        derived=derived,
    )
    return put(folder, record)


def put(folder: RunFolder, record: Record) -> Record:
    """Record a committed file; ConfigError if the plan has been exchanged in the meantime."""
    if RunFolder(folder.path).plan != folder.plan:
        raise ConfigError(
            "the plan of this run was changed while the work was going on",
            file=folder.plan_file,
            mend="give the command again: it will follow the new plan",
        )
    folder.records(record.step).put(record)
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
                stamped(file, "predicted"),
            )
            true = stamped(file, "key") == key and facts.content == content_of(file)
    except IntegrityError:
        return None
    texts = (facts.chunks, facts.predicted)
    return facts if true and all(re.fullmatch("([0-9a-f]{64})?", t) for t in texts) else None
