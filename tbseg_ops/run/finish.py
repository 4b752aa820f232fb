"""Finishing a piece of work exactly once: recognise it, adopt it, or make and commit it."""

import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tbseg_ops import __version__
from tbseg_ops.engines import bit_stable
from tbseg_ops.errors import IntegrityError, ResourceError
from tbseg_ops.hdf5.image import content_of, opened, stamped
from tbseg_ops.run.done import How, arrived, own
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.records import NOT_READ, Record, sha256_of
from tbseg_ops.run.referred import lists_what_it_did
from tbseg_ops.run.takeover import take_over
from tbseg_ops.storage.commit import commit_new, commit_over, pause, set_aside, storage_errors
from tbseg_ops.storage.visibility import looked_again, seen_within, written

_SETTLED = 5  # times that a file that is there may be gone, or be damaged, when looked at


class DifferentResultsError(IntegrityError):
    """Two valid results for one key differ: a machine computes wrongly."""


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


@dataclass(frozen=True)
class Finished:
    """A finished piece, and what this call did for it."""

    record: Record
    how: How

    def __str__(self) -> str:
        record = self.record
        if self.how == "here":
            return "already done"
        if self.how == "taken":
            return f"taken over from {Path(record.origin).name}"
        if self.how == "derived":
            return f"derived from its labels in {record.seconds:.2f} s"
        again = f", attempt {record.attempts}" if record.attempts > 1 else ""
        return f"computed in {record.seconds:.2f} s{again}"


def finish(
    folder: RunFolder, piece: Piece, make: Callable[[], Made], *, force: bool = False
) -> Finished:
    """The record of a piece, made by ``make`` where it is missing or ``force``.

    Where an earlier run has the piece it is taken over.

    May be called by any number of workers at once: one commits, the others compare. A file that
    was committed without its record (killed in between) is adopted if it holds what it says.
    DifferentResultsError if two valid results for one key differ; both are kept.
    """
    finished = None if force else _recognised(folder, piece)
    if finished is not None:
        return finished
    before = own(folder, piece)
    start = time.perf_counter()
    made = make()
    facts = made.facts
    if not commit_new(piece.path, made.data):
        facts = _settle(piece, made, bit_stable(folder.plan.spec.engine))
    pause("recording", piece.path)
    record = new_record(
        piece,
        seconds=time.perf_counter() - start,
        attempts=1 if before is None else before.record.attempts + 1,
        derived=made.derived,
        **asdict(facts),
    )
    return Finished(folder.put(record), "derived" if made.derived else "computed")


def _recognised(folder: RunFolder, piece: Piece) -> Finished | None:
    """The piece as it is done already: here, in an earlier run, or here without a record."""
    here = arrived(folder, piece, expected=False)
    if here is not None:
        return Finished(here.record, "here")
    if not piece.path.exists() and (record := take_over(folder, piece)) is not None:
        return Finished(record, "taken")
    if not piece.path.exists():
        return None
    facts = facts_of(piece)
    if facts is None:
        set_aside(piece.path)
        return None
    return Finished(folder.put(new_record(piece, seconds=0.0, **asdict(facts))), "here")


def new_record(piece: Piece, *, seconds: float, content: str, **more: Any) -> Record:
    """The record of a piece whose file has just been committed; ``more``: fields of ``Record``."""
    return Record(
        step=piece.step,
        name=piece.name,
        key=piece.key,
        file=piece.file,
        size=piece.path.stat().st_size,
        sha256=sha256_of(piece.path) if piece.step == "classify" else None,
        content=content,
        seconds=round(seconds, 3),
        host=socket.gethostname(),
        version=__version__,
        **more,
    )


def _settle(piece: Piece, made: Made, exact: bool, times: int = 1) -> Facts:
    """Something is under the final name: keep it if it is as good, replace it if it is damaged.

    Two good results of an engine that is not ``exact`` may differ in their last bits: the first
    one counts. The facts of the file that is there in the end.
    """
    path, there = piece.path, facts_of(piece)
    if there is not None and (there.content == made.facts.content or not exact):
        return there
    if there is not None:
        rival = path.with_name(f"{path.name}.rival-{os.getpid()}")
        commit_over(rival, made.data)
        raise DifferentResultsError(
            f"two runs of {piece.step} gave different results for the same input and parameters",
            file=path,
            tile=piece.name,
            expected=f"content {there.content[:16]}",
            found=f"content {made.facts.content[:16]} (kept as {rival.name})",
            mend="one of the machines computes wrongly: run tbseg on each of them again, "
            "remove the wrong file, and give the command again",
        )
    with storage_errors(path):
        set_aside(path)
    if commit_new(path, made.data):
        return made.facts
    if times == _SETTLED:
        raise ResourceError(
            "a file that another host wrote is there, and is not seen from here",
            file=path,
            expected=f"that it is seen within {seen_within(path):g} s",
            mend="mount the folder with shorter caches (NFS: -o actimeo=1), or set"
            " TBSEG_SEEN_WITHIN to more seconds; then give the same command again",
        )
    return _settle(piece, made, exact, times + 1)


def facts_of(piece: Piece) -> Facts | None:
    """What a file says of itself; None if it is damaged, of another key, or says what is untrue.

    One that is new, or not seen though it is there, is looked at again: another host may have
    written it. ConfigError or ResourceError if it cannot be read for another reason.
    """
    return looked_again(lambda: _read_facts(piece), piece.path, written(piece.path))


def _read_facts(piece: Piece) -> Facts | None:
    try:
        with opened(piece.path) as file:
            facts = Facts(
                stamped(file, "content"),
                stamped(file, "chunks"),
                tuple(int(n) for n in file.attrs["counts"]) if "counts" in file.attrs else (),
                int(file.attrs.get("not_finite", 0)),
                stamped(file, "predicted"),
            )
            true = stamped(file, "key") == piece.key
            if true and piece.refers:
                return Facts(NOT_READ)
            true = true and facts.content == content_of(file) and lists_what_it_did(file)
    except IntegrityError:
        return None
    texts = (facts.chunks, facts.predicted)
    return facts if true and all(re.fullmatch("([0-9a-f]{64})?", t) for t in texts) else None
