"""Boxes and the grid of tiles: pure integers, axis order z, y, x, half-open, no input or output.

A *tile* is a core box (what it writes) and a halo box (what it reads: the core grown by the
classifier's exact halo, clipped at the faces of the volume). Cores cover the volume exactly once
and start on the *chunk* grid of the merged file, so that merging copies whole chunks.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod

Index = tuple[int, int, int]

_TARGET_CHUNK = 64
TILE_NAME = re.compile(r"z(\d{3,9})_y(\d{3,9})_x(\d{3,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Box:
    """The voxels ``lo <= (z, y, x) < hi``."""

    lo: Index
    hi: Index

    @classmethod
    def middle(cls, shape: Index, sides: Index) -> "Box":
        """The box in the middle of ``shape``, of ``sides`` voxels or as many as there are."""
        lo = _index((n - min(n, side)) // 2 for n, side in zip(shape, sides, strict=True))
        return cls(lo, _index(low + min(n, s) for low, n, s in zip(lo, shape, sides, strict=True)))

    @property
    def shape(self) -> Index:
        return _index(h - low for low, h in zip(self.lo, self.hi, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(low, h) for low, h in zip(self.lo, self.hi, strict=True))
        return z, y, x

    def grown(self, halo: Index, within: Index) -> "Box":
        """This box with ``halo`` more voxels on each side, clipped to a volume of ``within``."""
        return Box(
            _index(max(0, low - h) for low, h in zip(self.lo, halo, strict=True)),
            _index(min(n, hi + h) for hi, h, n in zip(self.hi, halo, within, strict=True)),
        )

    def relative_to(self, origin: Index) -> "Box":
        """This box in the coordinates of an array whose first voxel is ``origin``."""
        return Box(
            _index(low - o for low, o in zip(self.lo, origin, strict=True)),
            _index(h - o for h, o in zip(self.hi, origin, strict=True)),
        )

    def shifted(self, by: Index) -> "Box":
        """This box moved by ``by`` voxels: the inverse of ``relative_to``."""
        return Box(
            _index(low + b for low, b in zip(self.lo, by, strict=True)),
            _index(h + b for h, b in zip(self.hi, by, strict=True)),
        )

    def intersection(self, other: "Box") -> "Box | None":
        """What both boxes hold, or None."""
        lo = _index(max(a, b) for a, b in zip(self.lo, other.lo, strict=True))
        hi = _index(min(a, b) for a, b in zip(self.hi, other.hi, strict=True))
        return Box(lo, hi) if all(a < b for a, b in zip(lo, hi, strict=True)) else None

    def contains(self, other: "Box") -> bool:
        return self.intersection(other) == other

    def blocks(self, chunk: Index) -> Iterator["Box"]:
        """The pieces of this box on a grid of ``chunk`` that starts at its own first voxel."""
        for z in range(self.lo[0], self.hi[0], chunk[0]):
            for y in range(self.lo[1], self.hi[1], chunk[1]):
                for x in range(self.lo[2], self.hi[2], chunk[2]):
                    lo = (z, y, x)
                    hi = _index(min(a + c, b) for a, c, b in zip(lo, chunk, self.hi, strict=True))
                    yield Box(lo, hi)


@dataclass(frozen=True, slots=True)
class Tile:
    """One unit of work; ``name`` carries its place in the grid and nothing is ordered by it."""

    index: int
    position: Index
    core: Box
    box: Box

    @property
    def name(self) -> str:
        z, y, x = self.position
        return f"z{z:03d}_y{y:03d}_x{x:03d}"


@dataclass(frozen=True, slots=True)
class Grid(Sequence[Tile]):
    """All tiles of a volume in raster order (z slowest).

    ``core`` is a multiple of ``chunk`` on each axis; only the last tile of an axis may be smaller.
    Of a part of a larger volume, of shape ``whole``, that begins at ``origin``: all coordinates are
    relative to the part, and halos reach beyond it, to coordinates below 0 too.
    """

    volume: Index
    core: Index
    chunk: Index
    halo: Index
    origin: Index = (0, 0, 0)
    whole: Index | None = None

    @classmethod
    def balanced(cls, volume: Index, tile: Index, halo: Index) -> "Grid":
        """As few tiles as ``tile`` allows, of equal size as nearly as the chunk grid lets them be.

        A volume of 420 with tiles of 400 gives 212 + 208, not 400 + a thin tail of 20. The chunk is
        the core divided into pieces of at most 64 voxels; rounding the core up to whole chunks can
        make it larger than asked by less than one voxel per chunk.
        """
        cores, chunks = zip(
            *(_balance(n, t) for n, t in zip(volume, tile, strict=True)), strict=True
        )
        return cls(volume, _index(cores), _index(chunks), halo)

    def over(self, volume: Index, tile: Index) -> "Grid | None":
        """This grid over a ``volume`` that grew or shrank in z; None if it does not suit that one.

        All tiles keep their place, name and core, but for the last ones in z. Balancing anew would
        move every seam. It must suit the wanted ``tile``: with cores less than half as long, twice
        the halo would be computed for ever.
        """
        core, chunk = self.core[0], self.chunk[0]
        fits = volume[1:] == self.volume[1:] and core % chunk == 0 and core <= volume[0]
        if not fits or 2 * core < min(tile[0], volume[0]):
            return None
        return replace(self, volume=volume)

    def halo_of(self, box: Box) -> Box:
        """What must be read to compute ``box``: as much around it as there is."""
        within = self.whole or self.volume
        return box.shifted(self.origin).grown(self.halo, within).relative_to(self.origin)

    @property
    def counts(self) -> Index:
        """Number of tiles on each axis."""
        return _index(ceil(n / c) for n, c in zip(self.volume, self.core, strict=True))

    def __len__(self) -> int:
        return prod(self.counts)

    def __getitem__(self, index: int) -> Tile:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        _, ny, nx = self.counts
        position = (index // (ny * nx), index // nx % ny, index % nx)
        lo = _index(p * c for p, c in zip(position, self.core, strict=True))
        hi = _index(min(a + c, n) for a, c, n in zip(lo, self.core, self.volume, strict=True))
        core = Box(lo, hi)
        return Tile(index, position, core, self.halo_of(core))

    def at(self, position: Index) -> Tile:
        """The tile there in the grid: z, y, x counted in tiles."""
        (z, y, x), (_, ny, nx) = position, self.counts
        return self[(z * ny + y) * nx + x]

    def meeting(self, box: Box) -> Iterator[Tile]:
        """The tiles whose cores have a voxel of ``box``, in raster order."""
        first = _index(lo // core for lo, core in zip(box.lo, self.core, strict=True))
        last = _index((hi - 1) // core for hi, core in zip(box.hi, self.core, strict=True))
        for z, y, x in product(*(range(a, b + 1) for a, b in zip(first, last, strict=True))):
            yield self.at((z, y, x))

    def by_name(self, name: str) -> Tile:
        """The tile of that name; KeyError if this grid has none."""
        match = TILE_NAME.fullmatch(name)
        if match:
            position = _index(int(group) for group in match.groups())
            if all(a < n for a, n in zip(position, self.counts, strict=True)):
                tile = self.at(position)
                if tile.name == name:
                    return tile
        raise KeyError(name)


def _balance(n: int, tile: int) -> tuple[int, int]:
    """Core and chunk length for an axis of ``n`` voxels and tiles of at most about ``tile``."""
    core = ceil(n / ceil(n / min(tile, n)))
    pieces = ceil(core / _TARGET_CHUNK)
    chunk = ceil(core / pieces)
    return pieces * chunk if pieces * chunk <= n else n, chunk


def _index(values: Iterator[int] | Sequence[int]) -> Index:
    z, y, x = values
    return z, y, x
