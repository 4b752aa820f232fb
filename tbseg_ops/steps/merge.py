"""merge: the tiles' class files become K arrays of the volume in one HDF5 file.

Cores lie on the chunk grid of the merged file, so compressed chunks are checked and copied as they
are. Workers read and check tiles; the root alone writes, so each chunk has exactly one writer and
no parallel HDF5 library is needed. It writes in grid order, so the file is the same, byte for byte,
whoever read the tiles.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from tbseg_ops import __version__
from tbseg_ops.errors import IntegrityError, ResourceError
from tbseg_ops.geometry import Index
from tbseg_ops.hdf5.image import LIBVER, opened, stamp, stamped
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.batches import Batches
from tbseg_ops.run.done import own, own_classes
from tbseg_ops.run.finish import new_record
from tbseg_ops.run.outputs import chunks_digest, create_merged, output_names, raw_chunks
from tbseg_ops.run.piece import WHOLE, Piece
from tbseg_ops.run.records import Record, Step
from tbseg_ops.run.result import Progress, StepResult, silent
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.settings import check_opened
from tbseg_ops.storage.commit import being_written, free_bytes, publish_file, remove, set_aside
from tbseg_ops.storage.locks import locked
from tbseg_ops.storage.visibility import looked_again, written
from tbseg_ops.stored import digest_of

_NAMED = 12  # tiles that a message names before it only counts


def merge(*, run: Path, team: Team | None = None, progress: Progress = silent) -> StepResult:
    """Write ``segmentation.h5`` from the class files of all tiles, unless it is up to date.

    IntegrityError naming the tiles if any is missing, of another key, or damaged (those are set
    aside, so that classify makes exactly them anew); the earlier merged file stays as it was.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    read = partial(_read, Workplace(folder))
    grid, computed = folder.plan.grid, 0
    if team.is_root:
        records = class_records(folder)
        Batches(folder).clear()
        piece = folder.merged(records)
        if not _is_current(folder, piece):
            with folder.swept(is_root=True):
                computed = int(_write(folder, piece, records, read, team, progress))
                _prune(folder)
        else:
            deque(team.map(read, []), maxlen=0)  # lets the other ranks go
    else:
        deque(team.map(read, range(len(grid))), maxlen=0)
    return StepResult(
        step="merge",
        computed=computed,
        reused=1 - computed,
        seconds=round(time.perf_counter() - start, 3),
        file=str(folder.segmentation_file),
    )


def class_records(folder: RunFolder) -> list[Record]:
    """The classify records of all tiles in grid order; IntegrityError names those that lack one."""
    found = {tile.name: own_classes(folder, tile) for tile in folder.plan.grid}

    def complete() -> bool | None:
        for name in (name for name, classes in found.items() if classes is None):
            found[name] = own_classes(folder, folder.plan.grid.by_name(name))
        return None if None in found.values() else True

    looked_again(complete, folder.records("classify").path(WHOLE))
    missing = [name for name, classes in found.items() if classes is None]
    if missing:
        raise IntegrityError(
            f"{len(missing)} of {len(found)} tiles are not classified yet, "
            "or from other input or parameters",
            file=folder.path / "classes",
            tile=named(missing),
            mend=f"tbseg classify --run {folder.quoted}",
        )
    return [classes.record for classes in found.values() if classes is not None]


def total_counts(records: Sequence[Record]) -> tuple[int, ...]:
    """The voxels of each class in all tiles."""
    return tuple(sum(n) for n in zip(*(r.counts for r in records), strict=True))


def _sums(records: Sequence[Record]) -> dict[str, Any]:
    """What the record of the merged file says of the tiles together."""
    return {
        "content": digest_of([r.content for r in records]),
        "counts": total_counts(records),
        "not_finite": sum(r.not_finite for r in records),
    }


def is_summed(merged: Record, records: Sequence[Record]) -> bool:
    """Whether the record of the merged file says what those of its tiles do.

    Counts of classes are not compared: verify counts in the file, and names the tile that lies.
    """
    sums = _sums(records)
    return (merged.content, merged.not_finite) == (sums["content"], sums["not_finite"])


def named(tiles: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(tiles) - _NAMED} more" if len(tiles) > _NAMED else ""
    return ", ".join(tiles[:_NAMED]) + more


def _is_current(folder: RunFolder, piece: Piece) -> bool:
    """Whether the merged file is that of the tiles as they are; its chunks are for verify."""
    found = own(folder, piece)
    if found is None or not found.is_there:
        return False
    try:
        with opened(piece.path) as file:
            return stamped(file, "key") == piece.key
    except IntegrityError:
        return False


@dataclass(frozen=True)
class _Chunks:
    """The compressed chunks of one tile, ready to be written; None if the tile is damaged."""

    tile: int
    chunks: list[tuple[str, Index, int, bytes]] | None


def _read(place: Workplace, index: int) -> _Chunks:
    ledger = place.folder.records("classify")
    recorded = ledger.path(place.folder.plan.grid[index].name)
    # The root has seen the record; this may be another host.
    return _Chunks(
        index, looked_again(lambda: _chunks(place.folder, index), recorded, written(recorded))
    )


def _chunks(folder: RunFolder, index: int) -> list[tuple[str, Index, int, bytes]] | None:
    """The compressed chunks of a tile if they are those that were recorded."""
    tile = folder.plan.grid[index]
    record = folder.records("classify").get(tile.name)
    if record is None:
        return None
    try:
        with opened(folder.path / record.file) as file:
            chunks = list(raw_chunks(file, folder.plan, tile.core, (0, 0, 0)))
    except IntegrityError:
        return None
    return chunks if chunks_digest(chunks) == record.chunks else None


def _in_order(
    parts: Iterator[_Chunks], read: Callable[[int], _Chunks], most: int
) -> Iterator[_Chunks]:
    """The tiles in grid order, from ``parts`` in any order.

    At most ``most`` that came early are kept. More of them come only while one reader hangs back;
    these are read again here in their turn, so that memory stays what it is.
    """
    early: dict[int, _Chunks | None] = {}
    kept, turn = 0, 0
    for part in parts:
        early[part.tile] = part if part.tile == turn or kept < most else None
        kept += early[part.tile] is not None
        while turn in early:
            ready = early.pop(turn)
            kept -= ready is not None
            yield ready or read(turn)
            turn += 1


def _write(
    folder: RunFolder,
    piece: Piece,
    records: list[Record],
    read: Callable[[int], _Chunks],
    team: Team,
    progress: Progress,
) -> bool:
    """False if somebody else has written the same meanwhile: then that stays, and so its record."""
    start = time.perf_counter()
    plan, grid, final = folder.plan, folder.plan.grid, piece.path
    _check_room(folder, records)
    damaged: list[str] = []
    with being_written(final) as tmp:
        with h5py.File(tmp, "w", libver=LIBVER, locking=False) as file:
            check_opened(file.id.get_vfd_handle(), tmp)
            create_merged(file, plan)
            datasets = {name: file[name] for name in output_names(plan)}
            parts = _in_order(team.map(read, range(len(grid)), short=True), read, 2 * team.workers)
            for number, part in enumerate(parts, start=1):
                tile = grid[part.tile]
                if part.chunks is None:
                    damaged.append(tile.name)
                    continue
                for name, offset, mask, data in part.chunks:
                    at = tuple(a + b for a, b in zip(tile.core.lo, offset, strict=True))
                    dataset = datasets[name]
                    dataset.id.write_direct_chunk(at + (0,) * (dataset.ndim - 3), data, mask)
                progress(tile.name, "copied", number, len(grid))
            stamp(file, key=piece.key, tbseg_version=__version__)
        if damaged:
            _refuse(folder, damaged)
        with locked(folder.path, needed=False):
            if _is_current(folder, piece):
                return False
            for step in ("verify", "merge"):  # they speak of the earlier file
                folder.records(step).drop(WHOLE)
            folder.proof_file.unlink(missing_ok=True)  # of the file that goes
            publish_file(tmp, final)
            folder.records("merge").put(
                new_record(
                    piece,
                    seconds=time.perf_counter() - start,
                    **_sums(records),
                )
            )
    return True


def _prune(folder: RunFolder) -> None:
    """Remove pieces of earlier plans (tiles of another size), now that they are replaced."""
    tiles = {tile.name for tile in folder.plan.grid}
    slabs = {slab.name for slab in folder.plan.slabs}
    kept: dict[Step, set[str]] = {"ingest": slabs, "split": tiles, "classify": tiles}
    for step, names in kept.items():
        ledger = folder.records(step)
        for name in ledger.names() - names:
            record = ledger.get(name)
            if record is not None:
                remove(folder.path / record.file)
            ledger.drop(name)


def _refuse(folder: RunFolder, damaged: list[str]) -> None:
    """Set damaged class files aside, so that classify makes exactly these anew."""
    ledger = folder.records("classify")
    for name in damaged:
        record = ledger.get(name)
        if record is not None:
            set_aside(folder.path / record.file)
            ledger.drop(name)
    raise IntegrityError(
        f"{len(damaged)} class files are missing or damaged; they were set aside",
        file=folder.path / "classes",
        tile=named(sorted(damaged)),
        mend=f"tbseg classify --run {folder.quoted} makes just these tiles anew; then merge again",
    )


def _check_room(folder: RunFolder, records: list[Record]) -> None:
    needed = sum(record.size for record in records)
    free = free_bytes(folder.path)
    if needed > free:
        raise ResourceError(
            "the disk is too small for the merged file",
            file=folder.segmentation_file,
            expected=f"{needed:,} bytes free",
            found=f"{free:,} bytes free",
            mend="free some space and merge again: the tiles are kept",
        )
