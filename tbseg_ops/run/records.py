"""The ledger: one small file per finished piece of work, kept in the run folder.

A record is never trusted without its file, nor a file without its record: see ``run.done``.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from tbseg_ops.pipeline import RecordedStep
from tbseg_ops.storage.commit import commit_over, remove
from tbseg_ops.storage.small_files import read_inside
from tbseg_ops.storage.stale import once_more
from tbseg_ops.stored import Stored

Step = RecordedStep
# A record names a file that is read and, when it is out of date, removed: it must stay inside.
RunFile = Annotated[
    str, StringConstraints(pattern=r"^((volume|tiles|classes)/[^/\x00]+|segmentation)\.h5$")
]


NOT_READ = ""  # the content of a sub-volume that refers to the volume, until somebody reads it


class Record(Stored):
    """What one step did for one piece: a slab, a tile, or the whole volume.

    ``content`` is the digest of the decoded arrays: equal for equal results, whatever compressed
    them; or ``NOT_READ``. ``sha256`` is that of a class file's bytes. Of other files it is None,
    and not looked at where an earlier tbseg wrote it: whoever reads them sees damage by what is
    stored inside (checksums of chunks, ``content``). ``problems`` is always empty; it is in all
    stored records.

    ``kept`` is False for a sub-volume that was not cut, or was removed, because nothing needs it;
    its content is known. ``predicted``: identity of what the engine computed (``Piece.predicted``);
    ``derived``: the engine was not asked, since an earlier file of that identity was there.
    ``origin``: the run folder from which the piece was taken over; empty if it was made here.
    """

    schema_version: Literal[1] = 1
    step: Step
    name: str
    key: str
    file: RunFile
    size: int
    sha256: str | None
    content: str
    chunks: str = ""
    counts: tuple[int, ...] = ()
    not_finite: int = 0
    problems: tuple[str, ...] = ()
    seconds: float = Field(ge=0)
    attempts: int = 1
    host: str
    version: str
    kept: bool = True
    predicted: str = ""
    derived: bool = False
    origin: str = ""


class Records:
    """The records of one step below ``folder`` (the run folder)."""

    def __init__(self, folder: Path, step: Step) -> None:
        self.run = folder
        self.folder = folder / "records" / step

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def get(self, name: str) -> Record | None:
        """The record of that name; a damaged one, or one of another place, counts as none."""
        try:
            found = Record.model_validate_json(once_more(read_inside, self.path(name)))
        except (FileNotFoundError, ValidationError):
            return None
        return found if (found.name, found.step) == (name, self.folder.name) else None

    def peek(self, name: str) -> Record | None:
        """The same for the records of other runs: a help and not a condition, nothing is raised."""
        with suppress(OSError):
            return self.get(name)
        return None

    def put(self, record: Record) -> None:
        commit_over(self.path(record.name), record.to_bytes())

    def drop(self, name: str) -> None:
        """Forget a piece, so that it is done again."""
        remove(self.path(name))

    def names(self) -> set[str]:
        """The names of all pieces that have a record, current or not."""
        try:
            return {e.name[:-5] for e in os.scandir(self.folder) if e.name.endswith(".json")}
        except FileNotFoundError:
            return set()


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
