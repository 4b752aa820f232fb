"""The tiles of a run as data: which are done, when, where, how long, and of what classes.

Whether a piece is done is told by ``run.done``, as everywhere. Asking it costs about a millisecond
a tile, so what was found is kept as long as the records are the same files.
"""

import os
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from math import prod
from time import monotonic
from typing import Any, Literal, get_args

from tbseg_ops.errors import IntegrityError, TbsegError
from tbseg_ops.geometry import TILE_NAME, Grid, Tile
from tbseg_ops.run.done import Found, merged_file, own, own_classes
from tbseg_ops.run.exports import beside
from tbseg_ops.run.folder import RunFolder
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

    tile: Tile
    state: State
    record: Record | None
    committed: float | None

    def row(self, plan: Plan) -> dict[str, Any]:
        """For a map of many tiles: short."""
        record, core, labels = self.record, self.tile.core, len(plan.classifier.labels)
        row: dict[str, Any] = {
            "name": self.tile.name,
            "batch": self.tile.index // plan.batch_size,
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
    """Tiles that are done, by layers: ``done[axis][layer]``.

    ``inodes``: of the records seen; ``left``: names and inodes of others, when the folder was as
    ``stamp`` says.
    """

    plan: _Stamp | None
    done: tuple[list[int], ...]
    inodes: dict[str, int] = field(default_factory=dict)
    tiles: dict[str, Tile] = field(default_factory=dict)
    left: list[tuple[str, int]] = field(default_factory=list)
    stamp: _Stamp | None = None

    def add(self, name: str, tile: Tile) -> None:
        self.tiles[name] = tile
        for layers, at in zip(self.done, tile.position, strict=True):
            layers[at] += 1

    def forget(self, name: str) -> None:
        """A record that is gone, or another one now."""
        self.inodes.pop(name, None)
        tile = self.tiles.pop(name, None)
        for layers, at in zip(self.done, () if tile is None else tile.position, strict=False):
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
            return self._run

    def _tile(self, folder: RunFolder, tile: Tile, verified: bool) -> TileState:
        """How far a tile is now; of a result that is ``verified`` no file need be there."""
        # As text: Path would cost more than all the rest, a thousand times a second.
        stamps = (*(_stamp(f"{folder.path}/records/{s}/{tile.name}.json") for s in _STEPS),)
        known = self._known.get(tile.name)
        if known is None or known[0] != stamps or known[1].tile != tile:
            known = (stamps, _state_of(folder, tile, stamps[1]))
            self._known[tile.name] = known
        found = known[1]
        if found.record is None or verified or not Found(folder, found.record).is_lost:
            return found
        return TileState(tile, "lost", found.record, found.committed)

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
        rows = [self._tile(folder, tile, verified).row(plan) for tile in tiles]
        done = sum(row["state"] == "done" for row in rows)
        return {"layer": number, "tiles": rows, "done": done}

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
        waiting = {name.removesuffix(".json").split("_")[axis] for name, _ in left}
        return [
            {
                "layer": number,
                "done": None if f"{'zyx'[axis]}{number:03d}" in waiting else done[number],
                "total": prod(counts) // counts[axis],
            }
            for number in range(counts[axis])
        ]

    def _count(self, folder: RunFolder, seconds: float) -> None:
        """Look at the records that are new since the last call."""
        counted, verified, place = self._counted, self.whole.verified, folder.records("classify")
        new, stamp = counted.left, _stamp(place.folder)
        if not new or stamp != counted.stamp:
            records = _inodes(place.folder)
            for name in counted.inodes.keys() - records.keys():
                counted.forget(name)
            changed = (item for item in records.items() if counted.inodes.get(item[0]) != item[1])
            new = sorted(item for item in changed if _RECORD.fullmatch(item[0]))
            counted.stamp = stamp
        end = monotonic() + seconds
        counted.left = []
        for number, (name, inode) in enumerate(new):
            tile_name = name.removesuffix(".json")
            known = self._known.get(tile_name)
            is_known = (
                known is not None and (stamp := known[0][1]) is not None and stamp[1] == inode
            )
            if not is_known and monotonic() > end:
                counted.left = new[number:]
                break
            counted.forget(name)
            with suppress(KeyError):  # of an earlier plan
                tile = folder.plan.grid.by_name(tile_name)
                if self._tile(folder, tile, verified).state == "done":
                    counted.add(name, tile)
            counted.inodes[name] = inode

    @property
    def revision(self) -> str:
        """Another text whenever something was committed since."""
        folder = self.folder
        files = [folder.records(step).folder for step in get_args(Step)]
        exported = beside(folder.exports / "any")
        files += [folder.plan_file, folder.report_file, folder.pruned_file, exported]
        stamps = [_stamp(f) for f in files]
        return digest_of(stamps)[:16]

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
        told: dict[str, Any] = found.row(folder.plan)
        told["halo"] = {"lo": tile.box.lo, "hi": tile.box.hi}
        told["record"] = None if found.record is None else found.record.model_dump(mode="json")
        told["error"] = _error_of(folder, found)
        return told


_STEPS: tuple[Step, ...] = ("split", "classify")
_RECORD = re.compile(TILE_NAME.pattern + r"\.json", re.ASCII)
_LAYERS = 8  # whose tiles are kept


def layer_of(grid: Grid, axis: int, number: int) -> Iterable[Tile]:
    """The tiles of one layer of a grid across an axis, in raster order."""
    ranges = [range(n) for n in grid.counts]
    ranges[axis] = range(number, number + 1)
    _, ny, nx = grid.counts
    return (grid[(z * ny + y) * nx + x] for z, y, x in product(*ranges))


def _state_of(folder: RunFolder, tile: Tile, stamp: "_Stamp | None") -> TileState:
    classes = own_classes(folder, tile)
    if classes is not None:
        committed = None if stamp is None else stamp[0] / 1e9
        return TileState(tile, "done", classes.record, committed)
    cut = own(folder, folder.sub_volume(tile))
    state: State = "waiting" if cut is None or cut.is_lost else "cut"
    return TileState(tile, state, None, None)


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


def _inodes(folder: "os.PathLike[str]") -> dict[str, int]:
    """The files of a folder. A record that is replaced is another file."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.inode() for entry in entries}
    except OSError:
        return {}


def _stamp(path: "os.PathLike[str] | str") -> _Stamp | None:
    """By it a file is known to be the same; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands a second
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
