"""Where two runs differ, found out in the background, tile by tile, while somebody asks for it."""

import threading
from time import monotonic
from typing import Any

import numpy as np

from tbseg_ops.errors import TbsegError
from tbseg_ops.view.compare import Pair
from tbseg_ops.view.tiles import RunView, layer_of

_REST_SECONDS = 20.0  # after the last question the work stops; the next one has it go on
_MOST = 100  # tiles that are told, those with the largest share


class Comparison:
    """The figures of ``tbseg compare`` as far as they are known, for any number of threads.

    8 bytes a tile are kept, and one block of voxels is held at a time. UsageError if the runs
    cannot be compared.
    """

    def __init__(self, first: RunView, second: RunView) -> None:
        self._pair = Pair(first, second)
        self._grid = self._pair.first.plan.grid
        self._different = np.full(len(self._grid), -1, np.int64)  # -1: not known yet
        self._counts = np.zeros(self._pair.differs.shape, np.int64)
        self._wanted: list[int] = []  # tiles that somebody looks at: before all others
        self._next = 0
        self._asked = monotonic()
        self._worker: threading.Thread | None = None
        self._error: TbsegError | None = None
        self._lock = threading.Lock()

    def told(self) -> dict[str, Any]:
        """As ``RunsCompared``, of the ``done`` tiles; ``most`` are the first 100."""
        self._ask()
        with self._lock:
            counts, different = self._counts.copy(), self._different.copy()
        found = self._pair.compared(counts, different)
        most = [{**t.model_dump(), "share": t.share} for t in found.most[:_MOST]]
        told = {**found.model_dump(mode="json", exclude={"most"}), "most": most}
        return {**told, "differing": len(found.most), "done": int((different >= 0).sum())}

    def shares(self, axis: int, number: int) -> list[float | None]:
        """What share of each tile of a layer differs; None if that is not known yet."""
        number = min(max(number, 0), self._grid.counts[axis] - 1)
        tiles = list(layer_of(self._grid, axis, number))
        with self._lock:
            many = self._different[[tile.index for tile in tiles]]
            self._wanted = [t.index for t, n in zip(tiles, many, strict=True) if n < 0]
        self._ask()
        sizes = (tile.core.size for tile in tiles)
        return [int(n) / size if n >= 0 else None for n, size in zip(many, sizes, strict=True)]

    def _ask(self) -> None:
        """Have the work go on. What stopped it is raised once: the next question tries again."""
        with self._lock:
            self._asked = monotonic()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if (self._worker is None or not self._worker.is_alive()) and self._left() is not None:
                self._worker = threading.Thread(target=self._work, daemon=True)
                self._worker.start()

    def _work(self) -> None:
        try:
            with self._pair.opened() as files:
                while (index := self._turn()) is not None:
                    counts = self._pair.counted(self._grid[index].core, files)
                    with self._lock:
                        self._counts += counts
                        self._different[index] = counts[self._pair.differs].sum()
        except TbsegError as error:
            self._error = error

    def _turn(self) -> int | None:
        """The tile that is next; None, and the work is over, if there is none or nobody asks."""
        with self._lock:
            found = self._left() if monotonic() - self._asked < _REST_SECONDS else None
            if found is None:
                self._worker = None
            return found

    def _left(self) -> int | None:
        while self._wanted:
            if self._different[self._wanted[0]] < 0:
                return self._wanted[0]
            del self._wanted[0]
        while self._next < len(self._grid):
            if self._different[self._next] < 0:
                return self._next
            self._next += 1
        return None
