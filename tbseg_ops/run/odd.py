"""Odd tiles: much more or less of a class than their neighbours have; a person should look there.

A brain changes little from one tile to the next. Where one does, something of the volume did (a
seam of the stitching, a stripe, a bubble), or the classifier does not hold there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.geometry import Index
from tbseg_ops.run.records import Record

_MOST = 0.25  # of a tile's voxels, that a class may have more or less
_NEIGHBOURS = 2  # with fewer one cannot say who of them is odd


@dataclass(frozen=True)
class Odd:
    """Where a tile lies in the grid, the number of the class that differs most (from 0), its share
    of the tile's voxels, and the median of the shares of the neighbours."""

    position: Index
    number: int
    share: float
    usual: float

    def words(self, labels: tuple[str, ...]) -> str:
        """For a person."""
        share, usual = (f"{100 * n:.0f} %" for n in (self.share, self.usual))
        return f"{share} {labels[self.number]}, its neighbours {usual}"


def share_of(record: Record | None, labels: int) -> NDArray[np.float32]:
    """Of the voxels that were computed, the share of each class; NaN if that is not known."""
    counts = record.counts[:labels] if record else ()
    voxels = sum(counts)
    shares = [n / voxels for n in counts] if voxels and len(counts) == labels else [np.nan] * labels
    return np.array(shares, np.float32)


def odd_tiles(shares: NDArray[np.float32]) -> list[Odd]:
    """Those whose share of a class is a quarter of the tile away from the median of its neighbours.

    ``shares`` (z, y, x, class): of the tiles of a grid, or of some layers of it; NaN where one is
    not known. Neighbours are the up to six that share a face; of two in the middle the nearer one
    counts, so that beside an odd tile not both its neighbours are odd. The oddest first.
    """
    around = np.stack(list(_shifted(shares)))
    known = np.isfinite(around).sum(axis=0, keepdims=True)
    around.sort(axis=0)  # NaN last
    low, high = (np.maximum(n, 0) // 2 for n in (known - 1, known))
    at_low, at_high = (np.take_along_axis(around, n, axis=0)[0] for n in (low, high))
    usual = np.clip(shares, at_low, at_high)
    away = np.where(known[0] >= _NEIGHBOURS, np.abs(shares - usual), 0)
    away[np.isnan(away)] = 0
    found = np.argwhere(away.max(axis=-1) > _MOST)
    return sorted(
        (_odd(tuple(map(int, at)), shares, usual, away) for at in found),
        key=lambda odd: (-abs(odd.share - odd.usual), odd.position),
    )


def _odd(
    at: Iterable[int],
    shares: NDArray[np.float32],
    usual: NDArray[np.float32],
    away: NDArray[np.float32],
) -> Odd:
    z, y, x = at
    number = int(away[z, y, x].argmax())
    where = (z, y, x, number)
    return Odd((z, y, x), number, float(shares[where]), float(usual[where]))


def _shifted(shares: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    """For each tile the shares of its neighbour in one of the six directions."""
    for axis in range(3):
        for step in (-1, 1):
            moved = np.full_like(shares, np.nan)
            here, there = [slice(None)] * 3, [slice(None)] * 3
            here[axis], there[axis] = (
                (slice(1, None), slice(None, -1)) if step < 0 else (slice(None, -1), slice(1, None))
            )
            moved[tuple(here)] = shares[tuple(there)]
            yield moved
