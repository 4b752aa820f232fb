"""Pieces of earlier runs: found by name and key, and linked into this run instead of made again.

An earlier run is a help, never a condition: what cannot be read there is made here. Its files are
never written to, and a link keeps them when the earlier run is removed.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Record, Step, intact
from tbseg_ops.storage.commit import commit_link


@dataclass(frozen=True)
class Found:
    """A finished piece of another run."""

    run: RunFolder
    record: Record

    @property
    def path(self) -> Path:
        return self.run.path / self.record.file

    @property
    def origin(self) -> str:
        """The run in which the piece was made."""
        return self.record.origin or str(self.run.path)

    @property
    def is_there(self) -> bool:
        """Whether the file is there with the recorded size; its bytes are not looked at."""
        if not self.record.kept:
            return False
        try:
            found = self.path.stat(follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == self.record.size

    @property
    def is_intact(self) -> bool:
        """Whether the file is as recorded, its digest included."""
        return self.is_there and intact(self.path, self.record)


def recorded(folder: RunFolder, step: Step, name: str, key: str) -> Iterator[Found]:
    """What earlier runs have recorded under that name and key, whether or not the file is there."""
    for run in folder.earlier:
        record = run.records(step).peek(name)
        if record is not None and record.key == key:
            yield Found(run, record)


def find(folder: RunFolder, step: Step, name: str, key: str) -> Found | None:
    """The first earlier run's piece of that name and key that has its file."""
    return next((f for f in recorded(folder, step, name, key) if f.is_there), None)


def link(found: Found, final: Path) -> bool:
    """Have the file of an earlier run under ``final``, too, if it is as recorded.

    False if it is not, if it is being removed, or if something is there already. Sub-volumes are
    not read for that: whoever reads one looks at its content, and makes it anew if it is damaged.
    """
    good = found.is_there if found.record.step == "split" else found.is_intact
    return good and commit_link(found.path, final)


def as_taken(found: Found, file: str, *, kept: bool = True) -> Record:
    """The record of a piece that was taken over, as ``file`` of this run, there if ``kept``."""
    return found.record.model_copy(
        update={"file": file, "origin": found.origin, "attempts": 1, "kept": kept}
    )
