"""The ledger: one small file per finished piece of work, kept in the run folder.

*Finished* means: a record with the wanted key, whose file is there with the recorded size and
digest (contract 3). A record is never trusted without its file, nor a file without its record.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from tbseg_ops.pipeline import RecordedStep
from tbseg_ops.storage.commit import commit_over, set_aside, storage_errors
from tbseg_ops.stored import Stored

Step = RecordedStep
# A record names a file that is read and, when it is out of date, removed: it must stay inside.
RunFile = Annotated[
    str, StringConstraints(pattern=r"^((volume|tiles|classes)/[^/\x00]+|segmentation)\.h5$")
]


class Record(Stored):
    """What one step did for one piece: a slab, a tile, or the whole volume.

    ``content`` is the digest of the decoded arrays: equal for equal results, whatever compressed
    them. ``sha256`` is that of the file's bytes; None where the file is too large to be read
    before each use and carries checksums of its own (slabs, the merged file).

    ``kept`` is False for a sub-volume that was not cut, or was removed, because nothing needs it;
    its content is known. ``predicted``: identity of what the engine computed (``predicted_key``);
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
        """The record of that name; a damaged one is set aside and counts as none."""
        path = self.path(name)
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            set_aside(path)
            return None

    def peek(self, name: str) -> Record | None:
        """The record of that name if it can be read: nothing is moved, and nothing is raised.

        For the records of other runs, which are a help and not a condition.
        """
        try:
            return Record.model_validate_json(self.path(name).read_bytes())
        except (OSError, ValidationError):
            return None

    def put(self, record: Record) -> None:
        commit_over(self.path(record.name), record.to_bytes())

    def drop(self, name: str) -> None:
        """Forget a piece, so that it is done again."""
        path = self.path(name)
        with storage_errors(path):
            path.unlink(missing_ok=True)

    def current(self, name: str, key: str) -> Record | None:
        """The record, if the piece is finished under ``key`` and its file is as recorded."""
        record = self.get(name)
        if record is None or record.key != key or not intact(self.run / record.file, record):
            return None
        return record if record.kept else None

    def names(self) -> set[str]:
        """The names of all pieces that have a record, current or not."""
        try:
            return {e.name[:-5] for e in os.scandir(self.folder) if e.name.endswith(".json")}
        except FileNotFoundError:
            return set()


def intact(path: Path, record: Record) -> bool:
    """Whether the file is there with the recorded size and, where recorded, digest."""
    try:
        if path.stat().st_size != record.size:
            return False
        return record.sha256 is None or sha256_of(path) == record.sha256
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
