"""Are the pieces of a run still what was recorded of them? Told piece by piece, nothing changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Grid
from tbseg_ops.hdf5.image import LIBVER, content_of_arrays, opened
from tbseg_ops.run import RunFolder, Team
from tbseg_ops.run.done import Found, own_content
from tbseg_ops.run.finish import facts_of
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.plan import Slab
from tbseg_ops.run.raw import read_volume
from tbseg_ops.run.records import NOT_READ
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.steps.ingest import fill_joined
from tbseg_ops.steps.split import refer_to_volume

PieceStep = Literal["ingest", "split", "classify"]
STEPS: tuple[PieceStep, ...] = ("ingest", "split", "classify")
_IN_MEMORY: dict[str, Any] = {"backing_store": False, "libver": LIBVER}
_KINDS = {"ingest": "volume", "split": "tiles", "classify": "classes"}  # as tbseg gc calls them


@dataclass(frozen=True)
class Unsound:
    """A recorded piece that is not what was recorded; ``of_file``: not its record alone is bad."""

    step: PieceStep
    name: str
    path: Path
    problem: str
    of_file: bool = True

    def __str__(self) -> str:
        return f"{self.step} {self.name}: {self.problem} ({self.path})"


def unsound(
    folder: RunFolder, steps: Sequence[PieceStep], team: Team, progress: Progress, *, deep: bool
) -> list[Unsound]:
    """The damaged pieces of some steps, in the plan's order; what was never made is none of them.

    Records and sizes of files are compared; if ``deep`` all bytes of the files are read, too, and
    of tiles that refer to the volume the voxels they refer to. What ``tbseg gc`` has removed is
    not missed. At the root alone, or at all ranks of ``team``.
    """
    kept = [step for step in steps if _KINDS[step] not in pruned(folder)]
    places = [(step, index) for step in kept for index in range(len(_all(folder, step)))]
    found: dict[int, Unsound] = {}
    look = partial(_look, Workplace(folder), deep)
    looked = team.map(look, list(enumerate(places)), short=not deep)
    for done, (number, name, one) in enumerate(looked, start=1):
        if one is not None:
            found[number] = one
        progress(name, "sound" if one is None else one.problem, done, len(places))
    joined = _joined(folder) if deep and "ingest" in kept and team.is_root else []
    return [found[number] for number in sorted(found)] + joined


def _all(folder: RunFolder, step: PieceStep) -> Sequence[Slab] | Grid:
    return folder.plan.slabs if step == "ingest" else folder.plan.grid


def _look(
    place: Workplace, deep: bool, numbered: tuple[int, tuple[PieceStep, int]]
) -> tuple[int, str, Unsound | None]:
    number, (step, index) = numbered
    name = _all(place.folder, step)[index].name
    return number, f"{step} {name}", _unsound(place.folder, step, deep, index, name)


def _unsound(
    folder: RunFolder, step: PieceStep, deep: bool, index: int, name: str
) -> Unsound | None:
    records = folder.records(step)
    record = records.get(name)
    if record is None:
        path = records.path(name)
        if not path.exists():
            return None
        return Unsound(step, name, path, "its record is damaged, or another's", of_file=False)
    piece = _piece(folder, step, index)
    if piece is None or record.key != piece.key:
        return None  # of an earlier plan: not done, and so not damaged
    found = Found(folder, record)
    problem = _problem_of_size(found)
    if problem is None and deep:
        problem = _problem_of_bytes(folder, piece, found, index)
    return None if problem is None else Unsound(step, name, piece.path, problem)


def _piece(folder: RunFolder, step: PieceStep, index: int) -> Piece | None:
    if step == "ingest":
        return folder.slab(folder.plan.slabs[index])
    tile = folder.plan.grid[index]
    if step == "split":
        return folder.sub_volume(tile)
    content = own_content(folder, tile)
    return None if content is None else folder.classes(tile, content)


def _problem_of_size(found: Found) -> str | None:
    record, path = found.record, found.path
    if not record.kept or found.is_there:
        return None
    if not path.exists():
        # A sub-volume may go when the tile is classified.
        return None if record.step == "split" else "its file is gone"
    return f"its file has not the {record.size} bytes that were written"


def _problem_of_bytes(folder: RunFolder, piece: Piece, found: Found, index: int) -> str | None:
    record = found.record
    if found.is_there:
        facts = facts_of(piece)
        if facts is None or not found.is_intact:
            return "its file is damaged, or another's"
        said = (facts.chunks, facts.counts, facts.not_finite, facts.predicted)
        noted = (record.chunks, record.counts, record.not_finite, record.predicted)
        if said != noted or (not piece.refers and facts.content != record.content):
            return "its record says something else than its file"
    return _problem_of_reference(folder, piece, found, index) if piece.refers else None


def _problem_of_reference(folder: RunFolder, piece: Piece, found: Found, index: int) -> str | None:
    """Of a sub-volume that holds no voxels."""
    tile, content = folder.plan.grid[index], found.record.content
    if found.is_there and not _refers_as(piece.path, partial(refer_to_volume, folder, tile)):
        return "its file refers to another part of the volume"
    if content == NOT_READ or "volume" in pruned(folder):
        return None
    part = read_volume(folder, tile.box, tile.core)
    if content_of_arrays(part.arrays) != content:
        return "its record says that it holds something else than the volume"
    return None


def _refers_as(path: Path, fill: Callable[[h5py.File], None]) -> bool:
    """Whether the datasets of a file show what those do that ``fill`` writes."""
    with opened(path) as file, h5py.File("expected", "w", driver="core", **_IN_MEMORY) as expected:
        fill(expected)
        return _references(file) == _references(expected)


def _joined(folder: RunFolder) -> list[Unsound]:
    """volume.h5, if it is damaged. It has no record, and tbseg itself does not read it."""
    path = folder.volume_file
    try:
        if not path.exists() or _refers_as(path, partial(fill_joined, folder)):
            return []
    except IntegrityError:
        pass
    return [Unsound("ingest", path.name, path, "it does not show the slabs of the plan")]


def _references(file: h5py.File) -> list[object]:
    """Of each virtual dataset, which box of which dataset of which file it shows where."""
    return [
        (
            name,
            dataset.shape,
            dataset.dtype.str,
            [
                (m.file_name, m.dset_name, *map(_bounds, (m.vspace, m.src_space)))
                for m in (dataset.virtual_sources() if dataset.is_virtual else ())
            ],
        )
        for name, dataset in sorted(file.items())
    ]


def _bounds(space: h5py.h5s.SpaceID) -> object:
    whole = space.get_select_type() == h5py.h5s.SEL_ALL
    return "all" if whole else space.get_select_bounds()
