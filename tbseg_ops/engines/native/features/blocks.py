"""The small blocks in which features are computed, and where they lie in scratch and bricks.

Between the y pass and the z pass a block is held as squares of 4 x 4 voxels (one vector each),
raster order, because that is how a plane of a brick lies in memory.
"""

from typing import NamedTuple

from tbseg_ops.engines.native.features.filters import Places, tapped
from tbseg_ops.engines.native.features.layout import COLUMNS, LANES, ROWS
from tbseg_ops.engines.native.features.simd import (
    Pointer,
    load,
    splat,
    store_squares,
)
from tbseg_ops.engines.native.jit import compiled, inlined

REACH = 2  # furthest neighbour of a feature kernel
# Strides are odd multiples of 16 floats: powers of two would share a few sets of the cache.
ROW = COLUMNS + LANES
FIELD = ROWS * COLUMNS + LANES
_SQUARES = 4 * COLUMNS  # floats of four rows
BRICK = 64


class Block(NamedTuple):
    """A block of a slab: its first row and column in the core and its size, there and rounded up.

    ``rows`` is a multiple of 4 and ``width`` of 16; ``bricks_y`` by ``bricks_x`` bricks hold
    voxels of the core. ``first`` is the first of them in a layer with ``line`` bricks along x.
    """

    y: int
    x: int
    rows: int
    width: int
    bricks_y: int
    bricks_x: int
    first: int
    line: int


@inlined
def block_at(y: int, x: int, shape: tuple[int, int, int]) -> Block:
    """The block that begins at (y, x) of a slab."""
    _, ny, nx = shape
    bricks_y = (min(ROWS, ny - y) + 3) // 4
    width = min(COLUMNS, nx - x)
    line = (nx + 3) // 4
    return Block(
        y,
        x,
        bricks_y * 4,
        (width + LANES - 1) // LANES * LANES,
        bricks_y,
        (width + 3) // 4,
        y // 4 * line + x // 4,
        line,
    )


@inlined
def brick_plane(block: Block, z: int, shape: tuple[int, int, int], columns: int) -> int:
    """Where plane ``z`` of the block's first brick begins in flat bricks [brick][column][64]."""
    layer = (shape[1] + 3) // 4 * block.line
    return (z // 4 * layer + block.first) * columns * BRICK + z % 4 * LANES


@inlined
def square(y: int, x: int) -> int:
    """Where the square of brick (y, x) of a block begins in a field of squares."""
    return y * _SQUARES + x * LANES


@inlined
def ring_planes(z: int, radius: int, slot: int) -> Places:
    """Offsets of planes z-2 ... z+2 in a ring of 2*radius+1 slots, as far as radius reaches."""
    n = 2 * radius + 1
    base = z + n * REACH
    near, far = min(radius, 1), radius
    return (
        (base - far) % n * slot,
        (base - near) % n * slot,
        base % n * slot,
        (base + near) % n * slot,
        (base + far) % n * slot,
    )


@compiled
def down(
    source: Pointer,
    at: int,
    stride: int,
    block: Block,
    taps: Pointer,
    kernel: int,
    sign: float,
    radius: int,
    squares: Pointer,
    to: int,
) -> None:
    """The y pass of a block: rows of ``source`` from ``at`` into squares from ``to``.

    ``sign`` as of ``filters.along``.
    """
    turn = splat(sign)
    for y in range(block.bricks_y):
        for x in range(0, block.width, LANES):
            # Four rows share their loads.
            i = at + 4 * y * stride + x
            r2, r3 = load(source, i), load(source, i + stride)
            r4, r5 = load(source, i + 2 * stride), load(source, i + 3 * stride)
            r0, r1, r6, r7 = r2, r2, r2, r2
            if radius > 0:
                r1, r6 = load(source, i - stride), load(source, i + 4 * stride)
            if radius > 1:
                r0, r7 = load(source, i - 2 * stride), load(source, i + 5 * stride)
            store_squares(
                squares,
                to + square(y, x // 4),
                tapped(r2, r3 + turn * r1, r4 + turn * r0, taps, kernel, radius),
                tapped(r3, r4 + turn * r2, r5 + turn * r1, taps, kernel, radius),
                tapped(r4, r5 + turn * r3, r6 + turn * r2, taps, kernel, radius),
                tapped(r5, r6 + turn * r4, r7 + turn * r3, taps, kernel, radius),
            )
