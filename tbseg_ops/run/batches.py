"""Which batches of a plan have begun, and which tiles are being computed: facts in the run folder.

In the folder ``batches``, by the commit protocol: whoever is at work on a batch, or on one of its
tiles, has a temporary file there, locked for as long as he lives (``storage.alive``), whatever host
or pod he is on; a batch that is done is a file. Each has the plan in its name. Nobody's result
hangs on it, only what idle workers choose to do: what is done is told by records alone.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from tbseg_ops.geometry import Tile
from tbseg_ops.run.done import own_classes
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.storage.alive import remove_if_abandoned
from tbseg_ops.storage.commit import being_written, publish_file, remove, sweep

Kind = Literal["batch", "tile"]
_NAME = re.compile(r"\.?(?P<kind>batch|tile)-(?P<number>\d+)-(?P<plan>[0-9a-f]{12})(?P<end>\..+)?")


@dataclass(frozen=True)
class _Seen:
    """Numbers of batches that are done and at work, indices of tiles that are being computed."""

    done: set[int]
    at_work: set[int]
    tiles: set[int]


class Batches:
    """The batches of the plan of ``folder``, as they are at the moment."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._path = folder.path / "batches"
        self._plan = folder.plan.digest[:12]

    @contextmanager
    def at_batch(self, number: int) -> Iterator[None]:
        """Work on a batch: it has begun, and is done if the body does not fail."""
        final = self._path / self._name("batch", number)
        with being_written(final) as sign:
            yield
            publish_file(sign, final)

    @contextmanager
    def at_tiles(self, indices: Sequence[int]) -> Iterator[None]:
        """Compute tiles, so that helpers take others."""
        with ExitStack() as signs:
            for index in indices:
                name = self._name("tile", index)
                signs.enter_context(being_written(self._path / name))
            yield

    def to_help(self, exhausted: set[int]) -> tuple[int, Tile] | None:
        """A batch and a tile of it that nobody has begun: the last one of that with most left.

        None if there is none, or if a batch has not begun: then work waits in a queue. Batches in
        which none was found become ``exhausted``, and are not looked at again.
        """
        while True:
            seen, plan = self._seen(), self._folder.plan
            if len(seen.done | seen.at_work) < plan.batches:
                return None
            left = {number: self._most_left(number, seen) for number in seen.at_work - exhausted}
            if not left or max(left.values()) <= 0:
                return None
            number = max(sorted(left), key=lambda number: left[number])
            tile = self._last_free(number, seen) if self._is_alive(number) else None
            if tile is not None:
                return number, tile
            exhausted.add(number)

    def clear(self) -> None:
        """Forget them all, of earlier plans, too; what somebody is at work on stays."""
        if self._path.is_dir():
            for path in self._path.glob("[!.]*"):
                remove(path)
            sweep(self._path)

    def _name(self, kind: Kind, number: int) -> str:
        return f"{kind}-{number}-{self._plan}"

    def _seen(self) -> _Seen:
        seen = _Seen(set(), set(), set())
        for path in self._path.iterdir() if self._path.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if match is None or match["plan"] != self._plan:
                continue
            at_work = seen.at_work if match["kind"] == "batch" else seen.tiles
            (seen.done if match["end"] is None else at_work).add(int(match["number"]))
        return seen

    def _most_left(self, number: int, seen: _Seen) -> int:
        """How many tiles of a batch may be free: those behind its owner. No record is read."""
        indices = self._folder.plan.batch_indices(number)
        return indices[-1] - min(seen.tiles.intersection(indices), default=indices[0] - 1)

    def _last_free(self, number: int, seen: _Seen) -> Tile | None:
        for tile in reversed(self._folder.plan.batch(number)):
            if tile.index not in seen.tiles and own_classes(self._folder, tile) is None:
                return tile
        return None

    def _is_alive(self, number: int) -> bool:
        """Whether somebody is at work on a batch. Signs that the dead have left are removed."""
        signs = self._path.glob(f".{self._name('batch', number)}.*")
        return not all(remove_if_abandoned(sign) for sign in signs)
