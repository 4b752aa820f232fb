"""Eigenvalues of the structure tensor of one scale.

First derivatives at the inner scale, their six products, each smoothed at the outer scale. At a
true face of the volume ilastik mirrors the products. Here the mirrored volume is differentiated
beyond the face, which turns the sign of the derivative across it; ``signs`` turns it back.
"""

from tbseg_ops.classifier.blocks import (
    COLUMNS,
    FIELD,
    LEFT,
    MARGIN,
    REACH,
    ROWS,
    SQUARES,
    down,
    ring_planes,
    sums,
)
from tbseg_ops.classifier.eigen import eigenvalues_2x2, eigenvalues_3x3
from tbseg_ops.classifier.filters import STRIDE_OF_TAPS, Floats, Ints, tapped
from tbseg_ops.classifier.simd import LANES, compiled, load, splat, store

# Kernels in the flat array of taps.
INNER_0, INNER_1, OUTER = (STRIDE_OF_TAPS * k for k in range(3))
# Products of derivatives, as rows and as squares: zz, yz, xz, yy, xy, xx.
_PRODUCTS = 6
SLOT = _PRODUCTS * FIELD
# Rows hold two more columns on each side than a block, in whole vectors.
_WIDE = COLUMNS + LANES
_TALL = ROWS + 2 * REACH
_INNER_ROWS = (_TALL + 2) * _WIDE
_INNER_FIELD = _TALL * _WIDE
_INNER_SLOT = 3 * _INNER_FIELD
_XY, _DX, _DY = (_INNER_FIELD * k for k in range(3))
_PRODUCT_ROW = _WIDE + LANES
_OUTER_FIELD = _TALL * _WIDE
# Scratch: ring of outer squares, ring of inner derivatives, x pass of the inner kernels, one row of
# products, x pass of the outer kernel.
_AT_INNER = 5 * SLOT
_AT_ROWS = _AT_INNER + 3 * _INNER_SLOT
_AT_PRODUCTS = _AT_ROWS + 2 * _INNER_ROWS
_AT_OUTER = _AT_PRODUCTS + _PRODUCTS * _PRODUCT_ROW
SCRATCH = _AT_OUTER + _PRODUCTS * _OUTER_FIELD


@compiled
def tensor_bricks(
    smooth: Floats,
    planes: Ints,
    stride: int,
    shape: tuple[int, int, int],
    signs_z: Floats,
    signs_y: Floats,
    signs_x: Floats,
    taps: Floats,
    inner_radius: int,
    radius: int,
    flat: bool,
    column: int,
    scratch: Floats,
    bricks: Floats,
    columns: int,
) -> None:
    """Write the three (2D: two) columns from ``column`` on of one slab.

    Arguments as in ``derivative_bricks``. ``signs_z`` and ``signs_y`` begin 3 voxels before the
    slab's core, ``signs_x`` 4 voxels: -1 beyond a face of the volume, else 1.
    """
    depth, ny, nx = shape
    inner_reach, reach = (0, 0) if flat else (inner_radius, radius)
    for y0 in range(0, ny, ROWS):
        rows = min(ROWS, (ny - y0 + 3) // 4 * 4)
        for x0 in range(0, nx, COLUMNS):
            width = min(COLUMNS, (nx - x0 + LANES - 1) // LANES * LANES)
            origin = (y0 + MARGIN) * stride + LEFT + x0
            for z in range(-reach - inner_reach, depth + reach + inner_reach):
                _inner(
                    smooth,
                    planes[z + MARGIN] + origin,
                    stride,
                    rows,
                    width,
                    taps,
                    inner_radius,
                    radius,
                    (z + MARGIN) % 3 * _INNER_SLOT,
                    scratch,
                )
                middle = z - inner_reach
                if middle < -reach:
                    continue
                _outer(
                    middle,
                    signs_z[middle + MARGIN],
                    signs_y,
                    y0 + MARGIN,
                    signs_x,
                    x0 + LEFT,
                    rows,
                    width,
                    taps,
                    inner_radius,
                    radius,
                    flat,
                    (middle + reach) % (2 * reach + 1) * SLOT,
                    scratch,
                )
                out = middle - reach
                if out >= 0:
                    first = ((out // 4) * ((ny + 3) // 4) + y0 // 4) * ((nx + 3) // 4) + x0 // 4
                    _through(
                        scratch,
                        out + reach,
                        (ny - y0, nx - x0),
                        (nx + 3) // 4,
                        taps,
                        radius,
                        flat,
                        bricks,
                        ((first * columns + column) * 4 + out % 4) * LANES,
                        columns,
                    )


@compiled
def _inner(
    smooth: Floats,
    origin: int,
    stride: int,
    rows: int,
    width: int,
    taps: Floats,
    inner_radius: int,
    radius: int,
    slot: int,
    scratch: Floats,
) -> None:
    """x and y passes of the inner kernels: smoothed, d/dx and d/dy of a plane, two voxels wider."""
    width += LANES
    for y in range(-radius - inner_radius, rows + radius + inner_radius):
        i = _AT_ROWS + (y + MARGIN) * _WIDE
        for x in range(0, width, LANES):
            at = origin + y * stride + x - REACH
            centre = load(smooth, at)
            near, rise = centre, centre
            if inner_radius > 0:
                right, left = load(smooth, at + 1), load(smooth, at - 1)
                near, rise = right + left, right - left
            s = tapped(centre, near, near, taps, INNER_0, inner_radius)
            store(scratch, i + x, s)
            s = tapped(centre, rise, rise, taps, INNER_1, inner_radius)
            store(scratch, i + x + _INNER_ROWS, s)
    for y in range(-radius, rows + radius):
        i = _AT_ROWS + (y + MARGIN) * _WIDE
        to = _AT_INNER + slot + (y + REACH) * _WIDE
        for x in range(0, width, LANES):
            centre = load(scratch, i + x)
            slope = load(scratch, i + x + _INNER_ROWS)
            near, rise, near_slope = centre, centre, slope
            if inner_radius > 0:
                below, above = load(scratch, i + x + _WIDE), load(scratch, i + x - _WIDE)
                near, rise = below + above, below - above
                near_slope = load(scratch, i + x + _INNER_ROWS + _WIDE) + load(
                    scratch, i + x + _INNER_ROWS - _WIDE
                )
            s = tapped(centre, near, near, taps, INNER_0, inner_radius)
            store(scratch, to + x + _XY, s)
            s = tapped(centre, rise, rise, taps, INNER_1, inner_radius)
            store(scratch, to + x + _DY, s)
            s = tapped(slope, near_slope, near_slope, taps, INNER_0, inner_radius)
            store(scratch, to + x + _DX, s)


@compiled
def _outer(
    z: int,
    sign_z: float,
    signs_y: Floats,
    at_y: int,
    signs_x: Floats,
    at_x: int,
    rows: int,
    width: int,
    taps: Floats,
    inner_radius: int,
    radius: int,
    flat: bool,
    slot: int,
    scratch: Floats,
) -> None:
    """z pass of the inner kernels, products, x and y passes of the outer kernel for plane ``z``."""
    above = _AT_INNER + (z - 1 + MARGIN) % 3 * _INNER_SLOT
    here = _AT_INNER + (z + MARGIN) % 3 * _INNER_SLOT
    below = _AT_INNER + (z + 1 + MARGIN) % 3 * _INNER_SLOT
    turn_z = splat(sign_z)
    first = 3 if flat else 0
    for y in range(-radius, rows + radius):
        turn_y = splat(signs_y[at_y + y])
        line = (y + REACH) * _WIDE
        for x in range(0, width + LANES, LANES):
            i = line + x
            dx, dy = load(scratch, here + i + _DX), load(scratch, here + i + _DY)
            if not flat:
                dz = load(scratch, here + i + _XY)
                near_x, near_y, rise = dx, dy, dz
                if inner_radius > 0:
                    near_x = load(scratch, below + i + _DX) + load(scratch, above + i + _DX)
                    near_y = load(scratch, below + i + _DY) + load(scratch, above + i + _DY)
                    rise = load(scratch, below + i + _XY) - load(scratch, above + i + _XY)
                dx = tapped(dx, near_x, near_x, taps, INNER_0, inner_radius)
                dy = tapped(dy, near_y, near_y, taps, INNER_0, inner_radius)
                dz = tapped(dz, rise, rise, taps, INNER_1, inner_radius) * turn_z
                dx, dy = dx * load(signs_x, at_x + x - REACH), dy * turn_y
                store(scratch, _AT_PRODUCTS + x, dz * dz)
                store(scratch, _AT_PRODUCTS + x + _PRODUCT_ROW, dy * dz)
                store(scratch, _AT_PRODUCTS + x + 2 * _PRODUCT_ROW, dx * dz)
            else:
                dx, dy = dx * load(signs_x, at_x + x - REACH), dy * turn_y
            store(scratch, _AT_PRODUCTS + x + 3 * _PRODUCT_ROW, dy * dy)
            store(scratch, _AT_PRODUCTS + x + 4 * _PRODUCT_ROW, dx * dy)
            store(scratch, _AT_PRODUCTS + x + 5 * _PRODUCT_ROW, dx * dx)
        for k in range(first, _PRODUCTS):
            for x in range(0, width, LANES):
                i = _AT_PRODUCTS + k * _PRODUCT_ROW + REACH + x
                centre = load(scratch, i)
                near, far = centre, centre
                if radius > 0:
                    near = load(scratch, i + 1) + load(scratch, i - 1)
                if radius > 1:
                    far = load(scratch, i + 2) + load(scratch, i - 2)
                s = tapped(centre, near, far, taps, OUTER, radius)
                store(scratch, _AT_OUTER + k * _OUTER_FIELD + line + x, s)
    for k in range(first, _PRODUCTS):
        down(
            scratch,
            _AT_OUTER + k * _OUTER_FIELD + REACH * _WIDE,
            _WIDE,
            rows,
            width,
            taps,
            OUTER,
            False,
            radius,
            scratch,
            slot + k * FIELD,
        )


@compiled
def _through(
    ring: Floats,
    z: int,
    extent: tuple[int, int],
    bricks_x: int,
    taps: Floats,
    radius: int,
    flat: bool,
    bricks: Floats,
    to: int,
    columns: int,
) -> None:
    """z pass of the outer kernel, eigenvalues, and their place in the bricks."""
    planes = ring_planes(z, 0 if flat else radius, SLOT)
    for y in range(0, min(ROWS, extent[0]), 4):
        for x in range(0, min(COLUMNS, extent[1]), 4):
            at = y // 4 * SQUARES + 4 * x
            brick = to + (y // 4 * bricks_x + x // 4) * columns * 64
            if flat:
                here = planes[2] + at
                e0, e1 = eigenvalues_2x2(
                    load(ring, here + 3 * FIELD),
                    load(ring, here + 4 * FIELD),
                    load(ring, here + 5 * FIELD),
                )
                store(bricks, brick, e0)
                store(bricks, brick + 64, e1)
                continue
            c, n, f = sums(ring, planes, at, radius)
            zz = tapped(c, n, f, taps, OUTER, radius)
            c, n, f = sums(ring, planes, at + FIELD, radius)
            yz = tapped(c, n, f, taps, OUTER, radius)
            c, n, f = sums(ring, planes, at + 2 * FIELD, radius)
            xz = tapped(c, n, f, taps, OUTER, radius)
            c, n, f = sums(ring, planes, at + 3 * FIELD, radius)
            yy = tapped(c, n, f, taps, OUTER, radius)
            c, n, f = sums(ring, planes, at + 4 * FIELD, radius)
            xy = tapped(c, n, f, taps, OUTER, radius)
            c, n, f = sums(ring, planes, at + 5 * FIELD, radius)
            xx = tapped(c, n, f, taps, OUTER, radius)
            e0, e1, e2 = eigenvalues_3x3(zz, yz, xz, yy, xy, xx)
            store(bricks, brick, e0)
            store(bricks, brick + 64, e1)
            store(bricks, brick + 128, e2)
