"""The small blocks in which features are computed, and where they lie in scratch and bricks.

A block is up to 16 rows by 64 columns of one plane: small enough that everything derived from it
stays in the processor's own cache, large enough that the rows and columns needed around it cost
little. Between the y pass and the z pass a block is held as squares of 4 x 4 voxels (one vector
each), raster order, because that is how a plane of a brick lies in memory.
"""

from typing import Any

from tbseg_ops.classifier.filters import Floats, tapped
from tbseg_ops.classifier.simd import LANES, compiled, inlined, load, store_squares

ROWS, COLUMNS = 16, 64
Planes = tuple[int, int, int, int, int]

REACH = 2  # furthest neighbour of a feature kernel
MARGIN = 3  # rows and planes around the core that features look at
LEFT = 4  # floats before the core's first column in a row of a smoothed plane
# Strides are odd multiples of 16 floats: powers of two would share a few sets of the cache.
ROW = COLUMNS + LANES
FIELD = ROWS * COLUMNS + LANES
SQUARES = 4 * COLUMNS  # floats of four rows


def padded_stride(width: int) -> int:
    """Least odd multiple of 16 that holds ``width`` floats."""
    return (-(-width // LANES) | 1) * LANES


@inlined
def sums(ring: Floats, planes: Planes, at: int, radius: int) -> Any:
    """Centre, near sum and far sum of the vectors at ``at`` in five planes of a ring."""
    centre = load(ring, planes[2] + at)
    near, far = centre, centre
    if radius > 0:
        near = load(ring, planes[3] + at) + load(ring, planes[1] + at)
    if radius > 1:
        far = load(ring, planes[4] + at) + load(ring, planes[0] + at)
    return centre, near, far


@inlined
def differences(ring: Floats, planes: Planes, at: int, radius: int) -> Any:
    """Centre, near difference and far difference, as ``sums``."""
    centre = load(ring, planes[2] + at)
    near, far = centre, centre
    if radius > 0:
        near = load(ring, planes[3] + at) - load(ring, planes[1] + at)
    if radius > 1:
        far = load(ring, planes[4] + at) - load(ring, planes[0] + at)
    return centre, near, far


@inlined
def ring_planes(z: int, radius: int, slot: int) -> Planes:
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
    source: Floats,
    at: int,
    stride: int,
    rows: int,
    columns: int,
    taps: Floats,
    kernel: int,
    odd: bool,
    radius: int,
    squares: Floats,
    to: int,
) -> None:
    """The y pass of a block: rows of ``source`` from ``at`` into squares from ``to``.

    ``rows`` is a multiple of 4, ``columns`` of 16. Four rows share their loads.
    """
    for y in range(0, rows, 4):
        for x in range(0, columns, LANES):
            i = at + y * stride + x
            r2, r3 = load(source, i), load(source, i + stride)
            r4, r5 = load(source, i + 2 * stride), load(source, i + 3 * stride)
            s0, s1, s2, s3 = r2, r3, r4, r5
            if radius == 0:
                s0 = tapped(r2, r2, r2, taps, kernel, 0)
                s1 = tapped(r3, r3, r3, taps, kernel, 0)
                s2 = tapped(r4, r4, r4, taps, kernel, 0)
                s3 = tapped(r5, r5, r5, taps, kernel, 0)
            else:
                r1, r6 = load(source, i - stride), load(source, i + 4 * stride)
                if radius == 1:
                    if odd:
                        s0 = tapped(r2, r3 - r1, r2, taps, kernel, 1)
                        s1 = tapped(r3, r4 - r2, r2, taps, kernel, 1)
                        s2 = tapped(r4, r5 - r3, r2, taps, kernel, 1)
                        s3 = tapped(r5, r6 - r4, r2, taps, kernel, 1)
                    else:
                        s0 = tapped(r2, r3 + r1, r2, taps, kernel, 1)
                        s1 = tapped(r3, r4 + r2, r2, taps, kernel, 1)
                        s2 = tapped(r4, r5 + r3, r2, taps, kernel, 1)
                        s3 = tapped(r5, r6 + r4, r2, taps, kernel, 1)
                else:
                    r0, r7 = load(source, i - 2 * stride), load(source, i + 5 * stride)
                    if odd:
                        s0 = tapped(r2, r3 - r1, r4 - r0, taps, kernel, 2)
                        s1 = tapped(r3, r4 - r2, r5 - r1, taps, kernel, 2)
                        s2 = tapped(r4, r5 - r3, r6 - r2, taps, kernel, 2)
                        s3 = tapped(r5, r6 - r4, r7 - r3, taps, kernel, 2)
                    else:
                        s0 = tapped(r2, r3 + r1, r4 + r0, taps, kernel, 2)
                        s1 = tapped(r3, r4 + r2, r5 + r1, taps, kernel, 2)
                        s2 = tapped(r4, r5 + r3, r6 + r2, taps, kernel, 2)
                        s3 = tapped(r5, r6 + r4, r7 + r3, taps, kernel, 2)
            store_squares(squares, to + (y // 4) * SQUARES + 4 * x, s0, s1, s2, s3)
