"""Is a piece done? Told from records and files; whoever wants to know it, asks here.

A piece is *recorded* if there is a record of its name and key. It is *there* if its file has the
recorded size, too: enough to plan, and for whoever sees damage when reading the file. It is
*intact* if the file also has the recorded digest. Only class files have one.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tbseg_ops.geometry import Tile
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.records import NOT_READ, Record, Step, sha256_of
from tbseg_ops.storage.visibility import looked_again, written

# What becomes of a piece, or became of it: *derived* is written from what an engine had computed
# earlier; *taken* over from an earlier run; *here* was done already.
How = Literal["computed", "derived", "taken", "here"]


@dataclass(frozen=True)
class Found:
    """A record, and the run that has it."""

    run: RunFolder
    record: Record

    @property
    def path(self) -> Path:
        return self.run.path / self.record.file

    @property
    def is_there(self) -> bool:
        """Whether the file is there with the recorded size; its bytes are not looked at."""
        if not self.record.kept:
            return False
        try:  # as text: a run is looked at each second, and a Path costs more than the answer
            found = os.lstat(os.path.join(self.run.path, self.record.file))  # noqa: PTH118
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == self.record.size

    @property
    def is_intact(self) -> bool:
        """Whether the file is as recorded, its digest included where it has one."""
        record = self.record
        if not self.is_there or record.step != "classify" or record.sha256 is None:
            return self.is_there
        try:
            return sha256_of(self.path) == record.sha256
        except OSError:
            return False

    @property
    def is_lost(self) -> bool:
        """Whether there should be a file, and is none."""
        return self.record.kept and not self.is_there


def records_of(folder: RunFolder, step: Step, name: str) -> Iterator[Found]:
    """This run's record of that name, then those of earlier runs, the best first."""
    own = folder.records(step).get(name)
    if own is not None:
        yield Found(folder, own)
    for run in folder.earlier:
        record = run.records(step).peek(name)
        if record is not None:
            yield Found(run, record)


def recorded(folder: RunFolder, piece: Piece) -> Iterator[Found]:
    """Where a piece is recorded: here, and in earlier runs."""
    return (f for f in records_of(folder, piece.step, piece.name) if f.record.key == piece.key)


def own(folder: RunFolder, piece: Piece) -> Found | None:
    """Where a piece is recorded here, if it is."""
    record = folder.records(piece.step).get(piece.name)
    return Found(folder, record) if record is not None and record.key == piece.key else None


def arrived(folder: RunFolder, piece: Piece, *, expected: bool) -> Found | None:
    """Where a piece is recorded here, if its file is intact.

    What another host has just written may be seen late here, and is waited for: a file with a new
    record, and the record, too, if it is ``expected`` since the step before has ended.
    """
    record = folder.records(piece.step).path(piece.name)

    def look() -> Found | None:
        found = own(folder, piece)
        return found if found is not None and found.is_intact else None

    if own(folder, piece) is not None:
        return looked_again(look, piece.path, written(record))
    return looked_again(look, piece.path) if expected else None


def how(folder: RunFolder, piece: Piece) -> How:
    """Whether a piece is *here*, can be *taken*, or must be *computed*; no file is digested."""
    return how_of(folder, recorded(folder, piece))


def how_of(folder: RunFolder, founds: Iterable[Found]) -> How:
    """The same of a piece that is ``recorded`` at these places."""
    for found in founds:
        if found.is_there:
            return "here" if found.run is folder else "taken"
    return "computed"


def own_content(folder: RunFolder, tile: Tile) -> str | None:
    """The digest of a tile's raw voxels, by the record of its sub-volume here; None: not known."""
    cut = own(folder, folder.sub_volume(tile))
    return None if cut is None or cut.record.content == NOT_READ else cut.record.content


def own_classes(folder: RunFolder, tile: Tile) -> Found | None:
    """The class file of a tile under the key that it must have now, if it is recorded here."""
    content = own_content(folder, tile)
    return None if content is None else own(folder, folder.classes(tile, content))


def merged_file(folder: RunFolder, classes: Sequence[Found | None]) -> tuple[Found, Piece] | None:
    """The merged file, if it is there and made of just these: ``own_classes`` of all tiles."""
    if None in classes:
        return None
    piece = folder.merged([found.record for found in classes if found is not None])
    found = own(folder, piece)
    return (found, piece) if found is not None and found.is_there else None
