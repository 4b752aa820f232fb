"""The tiles of a run as data: which are done, when, where, how long, and of what classes.

Whether a piece is done is told by ``run.done``, as everywhere. Asking it costs about a millisecond
a tile, so what was found is kept as long as the records are the same files.
"""

import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import prod
from time import monotonic
from typing import Any, Literal, get_args

import numpy as np

from tbseg_ops.errors import IntegrityError, TbsegError
from tbseg_ops.geometry import TILE_NAME, Grid, Index, Tile
from tbseg_ops.run.done import Found, merged_file, own, own_classes
from tbseg_ops.run.exports import hidden
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.odd import odd_tiles, share_of
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.run.plan import Plan
from tbseg_ops.run.records import Record, Step
from tbseg_ops.stored import digest_of

# waiting: not begun; cut: its voxels are there; done: classified; lost: was, and its file is gone.
State = Literal["waiting", "cut", "done", "lost"]
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class TileState:
    """How far a tile is; ``record``: of its class file. ``committed``: in seconds since 1970."""

    plan: Plan
    tile: Tile
    state: State
    record: Record | None
    committed: float | None

    @cached_property
    def row(self) -> dict[str, Any]:
        """For a map of many tiles: short."""
        record, core, labels = self.record, self.tile.core, len(self.plan.classifier.labels)
        row: dict[str, Any] = {
            "name": self.tile.name,
            "batch": self.tile.index // self.plan.batch_size,
            "position": self.tile.position,
            "lo": core.lo,
            "hi": core.hi,
            "state": self.state,
        }
        if record is not None:
            voxels = sum(record.counts)
            row |= {
                "seconds": record.seconds,
                "host": record.host,
                "attempts": record.attempts,
                "taken": bool(record.origin) or record.derived,
                "committed": self.committed,
                "shares": [round(n / max(voxels, 1), 6) for n in record.counts[:labels]],
                "outside": round(1 - voxels / prod(core.shape), 6),
            }
        return row


@dataclass(frozen=True)
class Whole:
    """``merged``: the merged file is there, made of just the present tiles; ``key``: its key."""

    merged: bool
    verified: bool
    key: str | None = None


@dataclass
class _Counted:
    """Tiles that are done, by layers: ``done[axis][layer]``, and by the names of their records.

    ``others``: records of tiles that are not done, as they were seen. ``left``: those to look at,
    when the folder was as ``stamp`` says, which it did first at ``since``. ``settled``: it was read
    so long after that nothing can have come within the same tick of the file system's clock.
    """

    plan: _Stamp | None
    done: tuple[list[int], ...]
    tiles: dict[str, Tile] = field(default_factory=dict)
    others: dict[str, _Stamp | None] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    stamp: _Stamp | None = None
    since: float = 0.0
    settled: bool = False

    def add(self, name: str, tile: Tile) -> None:
        self.tiles[name] = tile
        for layers, at in zip(self.done, tile.position, strict=True):
            layers[at] += 1

    def forget(self, name: str) -> None:
        """A record that is gone."""
        for layers, at in zip(self.done, self.tiles.pop(name).position, strict=True):
            layers[at] -= 1


class RunView:
    """What can be seen of a run, for any number of threads. ConfigError if it has no plan.

    A plan that is exchanged meanwhile is followed.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._plan_stamp: _Stamp | None = None
        self._known: dict[str, tuple[tuple[_Stamp | None, ...], TileState]] = {}
        self._shares = np.empty((0, 0, 0, 0), np.float32)  # of classes, as ``odd_tiles`` takes them
        self._counted, self._counting = _Counted(None, ()), threading.Lock()
        self._looked_at: dict[object, list[Tile]] = {}
        self._whole: tuple[tuple[object, ...], Whole] = ((), Whole(False, False))
        self.folder  # noqa: B018 - a folder without a plan is told at once

    @property
    def folder(self) -> RunFolder:
        """The run folder with its present plan."""
        with self._lock:
            stamp = _stamp(self._run.plan_file)
            if stamp is None or stamp != self._plan_stamp:
                run = RunFolder(self._run.path)
                _ = run.plan, run.inputs  # ConfigError, IntegrityError: the old one stays
                self._run, self._plan_stamp = run, stamp
                self._known.clear()
                shape = (*run.plan.grid.counts, len(run.plan.classifier.labels))
                self._shares = np.full(shape, np.nan, np.float32)
            return self._run

    def _tile(self, folder: RunFolder, tile: Tile, verified: bool) -> TileState:
        """How far a tile is now; of a result that is ``verified`` no file need be there."""
        # As text: Path would cost more than all the rest, a thousand times a second.
        name, place = tile.name, f"{folder.path}/records"
        stamps = (*(_stamp(f"{place}/{step}/{name}.json") for step in _STEPS),)
        known = self._known.get(name)
        if known is None or known[0] != stamps or known[1].tile != tile:
            known = (stamps, _state_of(folder, tile, stamps[1]))
            self._known[name] = known
            shares = share_of(known[1].record, len(folder.plan.classifier.labels))
            with suppress(IndexError, ValueError):  # the plan was exchanged just now
                self._shares[tile.position] = shares
        found = known[1]
        if found.record is None or verified or not Found(folder, found.record).is_lost:
            return found
        return replace(found, state="lost")

    def layer(self, number: int, axis: int = 0) -> dict[str, Any]:
        """All tiles of one layer of the grid across an axis (0 for z).

        ``number``: from 0; of one that is not there the nearest.
        """
        folder = self.folder
        number = min(max(number, 0), folder.plan.grid.counts[axis] - 1)
        plan, verified = folder.plan, self.whole.verified
        key = (self._plan_stamp, axis, number)
        tiles = self._looked_at.get(key)
        if tiles is None:
            if len(self._looked_at) >= _LAYERS:
                self._looked_at.clear()
            tiles = self._looked_at[key] = list(layer_of(plan.grid, axis, number))
        rows = [self._tile(folder, tile, verified).row for tile in tiles]
        odd = self._odd(plan, axis, number)
        rows = [row | {"odd": odd[at]} if (at := row["position"]) in odd else row for row in rows]
        done = sum(row["state"] == "done" for row in rows)
        return {"layer": number, "tiles": rows, "done": done}

    def _odd(self, plan: Plan, axis: int, number: int) -> dict[Index, str]:
        """In words why tiles of a layer are odd, as far as their neighbours were looked at."""
        first = max(number - 1, 0)
        layers: list[slice | int] = [slice(None)] * 3
        layers[axis] = slice(first, number + 2)
        found: dict[Index, str] = {}
        for odd in odd_tiles(self._shares[tuple(layers)]):
            z, y, x = (n + first * (a == axis) for a, n in enumerate(odd.position))
            if (z, y, x)[axis] == number:
                found[z, y, x] = odd.words(plan.classifier.labels)
        return found

    def progress(self, axis: int = 0, seconds: float = 0.3) -> list[dict[str, int | None]]:
        """Tiles done in each layer across an axis; None of a layer not reached in ``seconds``.

        The next call goes on from there. That a file is gone is seen by ``layer`` only: of tens of
        thousands of tiles no more is asked here than which records there are.
        """
        folder, counts = self.folder, self.folder.plan.grid.counts
        with self._counting:
            if self._counted.plan != self._plan_stamp:
                self._counted = _Counted(self._plan_stamp, tuple([0] * n for n in counts))
            self._count(folder, seconds)
            done, left = list(self._counted.done[axis]), self._counted.left
        waiting = {name.removesuffix(".json").split("_")[axis] for name in left}
        return [
            {
                "layer": number,
                "done": None if f"{'zyx'[axis]}{number:03d}" in waiting else done[number],
                "total": prod(counts) // counts[axis],
            }
            for number in range(counts[axis])
        ]

    def _count(self, folder: RunFolder, seconds: float) -> None:
        """Look at the records that are new since the last call.

        One that was replaced by another stays counted: with the same plan it is of the same tile.
        """
        counted, verified, place = self._counted, self.whole.verified, folder.records("classify")
        new, stamp, begin = counted.left, _stamp(place.folder), monotonic()
        is_same = stamp == counted.stamp
        if not new and not (is_same and counted.settled):
            records = _names(place.folder)
            for name in counted.tiles.keys() - records:
                counted.forget(name)
            new = sorted(name for name in records - counted.tiles.keys() if _RECORD.fullmatch(name))
            if not is_same:
                counted.stamp, counted.since = stamp, begin
            counted.settled = begin - counted.since > _TICK_SECONDS
        counted.left = []
        for number, name in enumerate(new):
            tile_name, record = name.removesuffix(".json"), _stamp(f"{place.folder}/{name}")
            if record is not None and record == counted.others.get(name):
                continue
            if tile_name not in self._known and monotonic() > begin + seconds:
                counted.left = new[number:]
                break
            counted.others[name] = record
            with suppress(KeyError):  # of an earlier plan
                tile = folder.plan.grid.by_name(tile_name)
                if self._tile(folder, tile, verified).state == "done":
                    counted.add(name, tile)
                    del counted.others[name]

    def known(self) -> list[TileState]:
        """The tiles that were looked at, as they were then."""
        return [state for _, state in list(self._known.values())]

    @property
    def revision(self) -> str:
        """Another text whenever something was committed since."""
        return revision_of(self.folder)

    @property
    def raw_revision(self) -> str:
        """Another text whenever the volume itself, or more of it, came into the run since."""
        folder = self.folder
        return digest_of([_stamp(folder.records("ingest").folder), _stamp(folder.plan_file)])[:16]

    @property
    def result(self) -> tuple[object, ...]:
        """By it the merged file and the plan are known to be the same."""
        file = self.folder.segmentation_file
        return (self._plan_stamp, _stamp(file))

    @property
    def whole(self) -> Whole:
        """How far the result as a whole is."""
        folder = self.folder
        steps: tuple[Step, ...] = (*_STEPS, "merge", "verify")
        stamps = tuple(_stamp(folder.records(s).folder) for s in steps)
        key = (*stamps, _stamp(folder.segmentation_file), self._plan_stamp)
        if self._whole[0] != key:
            self._whole = (key, self._whole_of(folder))
        return self._whole[1]

    def _whole_of(self, folder: RunFolder) -> Whole:
        if folder.records("merge").get(WHOLE) is None:  # else each tile is looked at
            return Whole(False, False)
        records = (self._tile(folder, tile, verified=True).record for tile in folder.plan.grid)
        merged = merged_file(folder, [None if r is None else Found(folder, r) for r in records])
        if merged is None:
            return Whole(False, False)
        verified = own(folder, folder.verified(merged[1])) is not None
        return Whole(True, verified, merged[1].key)

    def one(self, name: str) -> dict[str, Any]:
        """All that is known of one tile; ConfigError if there is none of that name."""
        folder = self.folder
        (tile,) = folder.tiles(None, (name,))
        found = self._tile(folder, tile, self.whole.verified)
        told = dict(found.row)
        told["halo"] = {"lo": tile.box.lo, "hi": tile.box.hi}
        told["record"] = None if found.record is None else found.record.model_dump(mode="json")
        told["error"] = _error_of(folder, found)
        return told


_STEPS: tuple[Step, ...] = ("split", "classify")
_RECORD = re.compile(TILE_NAME.pattern + r"\.json", re.ASCII)
_LAYERS = 8  # whose tiles are kept
_TICK_SECONDS = 2.0  # the coarsest clock of a file system in use


def revision_of(folder: RunFolder) -> str:
    """Another text whenever something was committed to a run since; of any folder."""
    files = [folder.records(step).folder for step in get_args(Step)]
    files += [folder.plan_file, folder.report_file, folder.pruned_file, hidden(folder.exports)]
    return digest_of([_stamp(file) for file in files])[:16]


def layer_of(grid: Grid, axis: int, number: int) -> Iterable[Tile]:
    """The tiles of one layer of a grid across an axis, in raster order."""
    ranges = [range(n) for n in grid.counts]
    ranges[axis] = range(number, number + 1)
    return (grid.at((z, y, x)) for z, y, x in product(*ranges))


def _state_of(folder: RunFolder, tile: Tile, stamp: "_Stamp | None") -> TileState:
    classes = own_classes(folder, tile)
    if classes is not None:
        committed = None if stamp is None else stamp[0] / 1e9
        return TileState(folder.plan, tile, "done", classes.record, committed)
    cut = own(folder, folder.sub_volume(tile))
    state: State = "waiting" if cut is None or cut.is_lost else "cut"
    return TileState(folder.plan, tile, state, None, None)


def _error_of(folder: RunFolder, found: TileState) -> dict[str, str] | None:
    """What is wrong with a tile, and its mend."""
    if found.state != "lost" or found.record is None:
        return None
    error: TbsegError = IntegrityError(
        "the tile was classified, but its file is gone or has another size",
        file=folder.path / found.record.file,
        tile=found.tile.name,
        mend=f"tbseg classify --run {folder.path} makes it anew",
    )
    return {"text": str(error), "what": error.what, "mend": error.mend or ""}


def _names(folder: "os.PathLike[str]") -> set[str]:
    """Of the files of a folder."""
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - 30,000 names a second
    except OSError:
        return set()


def _stamp(path: "os.PathLike[str] | str") -> _Stamp | None:
    """By it a file is known to be the same; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands a second
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
