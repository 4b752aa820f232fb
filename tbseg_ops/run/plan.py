"""What will be done: the content of ``plan.json``, and the inputs it was made from.

A plan is deterministic: the same spec and the same input give the same bytes. It stays small for
any volume, since tiles are computed from the grid and not listed.
"""

from math import ceil
from typing import Literal

from tbseg_ops.classifier import Passport
from tbseg_ops.geometry import Box, Grid, Index, Tile
from tbseg_ops.options import RunSpec
from tbseg_ops.selection import AbsolutePath
from tbseg_ops.stored import Stored, digest_of
from tbseg_ops.volume import VolumeInfo


class Inputs(Stored):
    """The slices of the volume, in z order, and what each held when the plan was made."""

    schema_version: Literal[1] = 1
    slices: tuple[str, ...]
    fingerprints: tuple[str, ...]
    mask_slices: tuple[str, ...] = ()
    mask_fingerprints: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What the slices hold, in order: what a result depends on."""
        return digest_of([self.fingerprints, self.mask_fingerprints])

    @property
    def listing(self) -> str:
        """The digest of all of it, names included; by it a plan knows its list."""
        return digest_of(self.model_dump(mode="json", exclude_defaults=True))


class GridModel(Stored):
    """The stored form of ``geometry.Grid``; z, y, x in voxels."""

    volume: Index
    core: Index
    chunk: Index
    halo: Index


class Slab(Stored):
    """A z range of the volume (in its coordinates) that one worker ingests into one file."""

    name: str
    z0: int
    z1: int


class Plan(Stored):
    """The work of a run, derived from its spec, its input and its classifier.

    ``earlier``: folders of runs from which finished pieces may be taken over, the best one first.
    ``refers``: slabs hold no voxels, but say where in the slices they lie (``run.referred``).
    ``warnings``: why the volume may not fit the classifier; nothing depends on them.
    ``listing``: of the inputs; ``seal``: digest of all the rest, by which a plan that was altered
    is known (see ``sealed``). Both are "" in the plans of an earlier tbseg.
    """

    schema_version: Literal[1] = 1
    spec: RunSpec
    volume: VolumeInfo
    classifier: Passport
    engine_version: str
    inputs_digest: str
    grid_model: GridModel
    slabs: tuple[Slab, ...]
    batch_size: int
    batches: int
    notes: tuple[str, ...]
    earlier: tuple[AbsolutePath, ...] = ()
    warnings: tuple[str, ...] = ()
    listing: str = ""
    seal: str = ""
    refers: bool = False

    def sealed(self, inputs: Inputs) -> "Plan":
        """The same plan as it is stored beside these inputs."""
        plan = self.model_copy(update={"listing": inputs.listing})
        return plan.model_copy(update={"seal": plan.true_seal})

    @property
    def true_seal(self) -> str:
        """The seal that it must have; the same when a later version has more fields."""
        return digest_of(self.model_dump(mode="json", exclude={"seal"}, exclude_defaults=True))

    @property
    def is_altered(self) -> bool:
        """Whether it is not as it was stored."""
        return self.seal not in ("", self.true_seal)

    @property
    def grid(self) -> Grid:
        g = self.grid_model
        return Grid(g.volume, g.core, g.chunk, g.halo, self.part.lo, self.volume.shape)

    @property
    def part(self) -> Box:
        """What of the volume is classified, in its coordinates; those of the tiles begin there."""
        return self.spec.part(self.volume.shape)

    @property
    def read(self) -> Box:
        """The part and what its halo sees: what ingest reads, in coordinates of the volume."""
        return self.part.grown(self.grid_model.halo, self.volume.shape)

    @property
    def shape(self) -> Index:
        """Of the result: that of the part."""
        return self.grid_model.volume

    @property
    def digest(self) -> str:
        """By it, what was made for a plan knows that plan."""
        beside = {"seal"} if self.listing else {"seal", "listing"}
        return digest_of(self.model_dump(mode="json", exclude=beside))

    @property
    def probability_labels(self) -> tuple[int, ...]:
        """Indices of the classes whose probability maps are written."""
        return self.spec.wanted_probabilities(self.classifier.labels)

    def slab_box(self, slab: Slab) -> Box:
        """The voxels of a slab, in coordinates of the tiles."""
        (_, y0, x0), (_, y1, x1) = self.read.lo, self.read.hi
        return Box((slab.z0, y0, x0), (slab.z1, y1, x1)).relative_to(self.part.lo)

    def is_of(self, inputs: Inputs) -> bool:
        """Whether this plan was made of these inputs."""
        listing = inputs.listing if self.listing else ""
        return (inputs.digest, listing) == (self.inputs_digest, self.listing)

    def in_batches(self, size: int) -> "Plan":
        """The same plan with so many tiles in a batch."""
        batches = ceil(len(self.grid) / size)
        return self.model_copy(update={"batch_size": size, "batches": batches})

    def batch(self, number: int) -> list[Tile]:
        """The tiles of one batch: neighbours in raster order."""
        grid = self.grid
        return [grid[i] for i in self.batch_indices(number)]

    def batch_indices(self, number: int) -> range:
        """The indices in the grid of the tiles of one batch."""
        first = number * self.batch_size
        return range(first, min(first + self.batch_size, len(self.grid)))

    def batch_name(self, number: int) -> str:
        """A name for people: the tile's own, or the first and last one's."""
        tiles = self.batch(number)
        if len(tiles) == 1:
            return tiles[0].name
        return f"batch {number}: {tiles[0].name} to {tiles[-1].name}"


# Of a slab by reference, what has a checksum; tiles of 256³, halo 15, read 1.4 times the volume.
CHECKED: Index = (16, 16, 16)


def slab_chunk(shape: Index, slab: Slab) -> Index:
    """Chunk of a slab's file: small enough that a tile's box reads little that it does not need.

    Tiles of 256³ with a halo of 15 read 1.4 times the volume, and three times with 32 x 128 x 128;
    smaller chunks save little more and take longer.
    """
    return (min(slab.z1 - slab.z0, 32), min(shape[1], 32), min(shape[2], 64))


def slabs_of(info: VolumeInfo, itemsize: int, first: int, end: int) -> tuple[Slab, ...]:
    """The slices ``first`` to ``end`` cut into slabs that take at most 256 MiB to decode, or one
    slice if that is larger."""
    plane = info.shape[1] * info.shape[2] * info.channels * itemsize
    depth = max(1, min(64, (256 << 20) // plane))
    count = ceil((end - first) / depth)
    return tuple(
        Slab(name=f"slab_{i:05d}", z0=z0, z1=min(z0 + depth, end))
        for i, z0 in zip(range(count), range(first, end, depth), strict=True)
    )


def seam_boxes(grid: Grid, side: int, count: int) -> list[Box]:
    """Up to ``count`` boxes of about ``side`` voxels that straddle tile seams, spread evenly.

    They are centred on inner corners and on the middles of inner faces of tiles' cores, and
    clipped to the volume. An axis with one tile only has its middle taken.
    """
    total = len(grid)
    some = sorted({i * total // min(count, total) for i in range(min(count, total))})
    centres: dict[Index, None] = {}
    for core in (grid[i].core for i in some):
        middle = [(lo + hi) // 2 for lo, hi in zip(core.lo, core.hi, strict=True)]
        corner = [
            hi if hi < n else lo if lo > 0 else m
            for lo, hi, n, m in zip(core.lo, core.hi, grid.volume, middle, strict=True)
        ]
        centres[(corner[0], corner[1], corner[2])] = None
        for axis in range(3):
            face = [corner[a] if a == axis else middle[a] for a in range(3)]
            centres[(face[0], face[1], face[2])] = None
    points = list(centres)
    n = min(count, len(points))
    chosen = [points[i * len(points) // n] for i in range(n)]
    return [_around(point, side, grid.volume) for point in chosen]


def _around(centre: Index, side: int, volume: Index) -> Box:
    z, y, x = centre
    half = side // 2
    return Box((z, y, x), (z + 1, y + 1, x + 1)).grown((half, half, half), volume)
