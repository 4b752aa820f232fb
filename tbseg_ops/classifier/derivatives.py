"""Smoothing, Laplacian, gradient magnitude, Hessian and difference of Gaussians of one scale.

They share their passes: the x pass gives orders 0, 1, 2 of every row, the y pass the six mixed
derivatives up to order 2, the z pass the rest, and the features are made from registers and written
straight into the bricks.
"""

from tbseg_ops.classifier.blocks import (
    COLUMNS,
    FIELD,
    LEFT,
    MARGIN,
    REACH,
    ROW,
    ROWS,
    SQUARES,
    differences,
    down,
    ring_planes,
    sums,
)
from tbseg_ops.classifier.eigen import eigenvalues_2x2, eigenvalues_3x3
from tbseg_ops.classifier.filters import STRIDE_OF_TAPS, Floats, Ints, tapped
from tbseg_ops.classifier.simd import LANES, compiled, load, root, store

# What is asked for: the columns of these features, -1 where a feature is not wanted.
SMOOTHING, LAPLACIAN, GRADIENT, DIFFERENCE, HESSIAN = range(5)
# Kernels in the flat array of taps.
ORDER_0, ORDER_1, ORDER_2, NARROW = (STRIDE_OF_TAPS * k for k in range(4))
# Fields of a block after the y pass: derivatives in x and y, then the narrow Gaussian.
_XY, _DX, _DY, _DXX, _DXY, _DYY, _NARROW = (FIELD * k for k in range(7))
SLOT = 7 * FIELD
_ROW_FIELD = (ROWS + 2 * REACH) * ROW
SCRATCH = 5 * SLOT + 4 * _ROW_FIELD


@compiled
def derivative_bricks(
    smooth: Floats,
    planes: Ints,
    stride: int,
    shape: tuple[int, int, int],
    taps: Floats,
    radius: int,
    narrow_radius: int,
    flat: bool,
    wanted: Ints,
    scratch: Floats,
    bricks: Floats,
    columns: int,
) -> None:
    """Write the wanted columns of one slab.

    ``smooth`` holds the presmoothed planes; plane z of the slab begins at ``planes[z + 3]`` and its
    voxel (0, 0) lies ``3 * stride + 4`` floats later. ``shape`` is that of the slab's core.
    ``flat`` means 2D: no z pass. ``bricks`` is flat [brick][column][64].
    """
    depth, ny, nx = shape
    reach = 0 if flat else radius
    for y0 in range(0, ny, ROWS):
        rows = min(ROWS, (ny - y0 + 3) // 4 * 4)
        for x0 in range(0, nx, COLUMNS):
            width = min(COLUMNS, (nx - x0 + LANES - 1) // LANES * LANES)
            origin = (y0 + MARGIN) * stride + LEFT + x0
            for z in range(-reach, depth + reach):
                slot = (z + reach) % (2 * reach + 1) * SLOT
                _across(
                    smooth,
                    planes[z + MARGIN] + origin,
                    stride,
                    rows,
                    width,
                    taps,
                    radius,
                    narrow_radius,
                    wanted,
                    scratch,
                )
                _down(scratch, rows, width, taps, radius, narrow_radius, wanted, slot)
                out = z - reach
                if out >= 0:
                    first = ((out // 4) * ((ny + 3) // 4) + y0 // 4) * ((nx + 3) // 4) + x0 // 4
                    _through(
                        scratch,
                        out + reach,
                        (ny - y0, nx - x0),
                        (nx + 3) // 4,
                        taps,
                        radius,
                        narrow_radius,
                        flat,
                        wanted,
                        bricks,
                        (first * columns * 4 + out % 4) * LANES,
                        columns,
                    )


@compiled
def _across(
    smooth: Floats,
    origin: int,
    stride: int,
    rows: int,
    width: int,
    taps: Floats,
    radius: int,
    narrow_radius: int,
    wanted: Ints,
    scratch: Floats,
) -> None:
    """The x pass of a block and of the rows around it, into four row fields."""
    to = 5 * SLOT
    narrow = wanted[DIFFERENCE] >= 0
    for y in range(-radius, rows + radius):
        for x in range(0, width, LANES):
            at = origin + y * stride + x
            centre = load(smooth, at)
            near, far, rise, climb = centre, centre, centre, centre
            if radius > 0:
                right, left = load(smooth, at + 1), load(smooth, at - 1)
                near, rise = right + left, right - left
            if radius > 1:
                right, left = load(smooth, at + 2), load(smooth, at - 2)
                far, climb = right + left, right - left
            i = to + (y + REACH) * ROW + x
            store(scratch, i, tapped(centre, near, far, taps, ORDER_0, radius))
            store(scratch, i + _ROW_FIELD, tapped(centre, rise, climb, taps, ORDER_1, radius))
            store(scratch, i + 2 * _ROW_FIELD, tapped(centre, near, far, taps, ORDER_2, radius))
            if narrow:
                s = tapped(centre, near, centre, taps, NARROW, narrow_radius)
                store(scratch, i + 3 * _ROW_FIELD, s)


@compiled
def _down(
    scratch: Floats,
    rows: int,
    width: int,
    taps: Floats,
    radius: int,
    narrow_radius: int,
    wanted: Ints,
    slot: int,
) -> None:
    """The y pass of a block into one slot of the ring."""
    x_0 = 5 * SLOT + REACH * ROW
    x_1, x_2, x_n = x_0 + _ROW_FIELD, x_0 + 2 * _ROW_FIELD, x_0 + 3 * _ROW_FIELD
    second = wanted[LAPLACIAN] >= 0 or wanted[HESSIAN] >= 0
    first = wanted[GRADIENT] >= 0 or wanted[HESSIAN] >= 0
    s = scratch
    down(s, x_0, ROW, rows, width, taps, ORDER_0, False, radius, s, slot + _XY)
    if first:
        down(s, x_1, ROW, rows, width, taps, ORDER_0, False, radius, s, slot + _DX)
        down(s, x_0, ROW, rows, width, taps, ORDER_1, True, radius, s, slot + _DY)
    if second:
        down(s, x_2, ROW, rows, width, taps, ORDER_0, False, radius, s, slot + _DXX)
        down(s, x_0, ROW, rows, width, taps, ORDER_2, False, radius, s, slot + _DYY)
    if wanted[HESSIAN] >= 0:
        down(s, x_1, ROW, rows, width, taps, ORDER_1, True, radius, s, slot + _DXY)
    if wanted[DIFFERENCE] >= 0:
        down(s, x_n, ROW, rows, width, taps, NARROW, False, narrow_radius, s, slot + _NARROW)


@compiled
def _through(
    ring: Floats,
    z: int,
    extent: tuple[int, int],
    bricks_x: int,
    taps: Floats,
    radius: int,
    narrow_radius: int,
    flat: bool,
    wanted: Ints,
    bricks: Floats,
    to: int,
    columns: int,
) -> None:
    """The z pass of a block, its features, and their place in the bricks."""
    smoothing, laplacian = wanted[SMOOTHING], wanted[LAPLACIAN]
    gradient, difference = wanted[GRADIENT], wanted[DIFFERENCE]
    hessian = wanted[HESSIAN]
    planes = ring_planes(z, 0 if flat else radius, SLOT)
    for y in range(0, min(ROWS, extent[0]), 4):
        for x in range(0, min(COLUMNS, extent[1]), 4):
            at = y // 4 * SQUARES + 4 * x
            brick = to + (y // 4 * bricks_x + x // 4) * columns * 64
            if flat:
                here = planes[2] + at
                if smoothing >= 0:
                    store(bricks, brick + smoothing * 64, load(ring, here + _XY))
                if difference >= 0:
                    s = load(ring, here + _XY) - load(ring, here + _NARROW)
                    store(bricks, brick + difference * 64, s)
                if gradient >= 0:
                    dx, dy = load(ring, here + _DX), load(ring, here + _DY)
                    store(bricks, brick + gradient * 64, root(dx * dx + dy * dy))
                if laplacian >= 0:
                    s = load(ring, here + _DXX) + load(ring, here + _DYY)
                    store(bricks, brick + laplacian * 64, s)
                if hessian >= 0:
                    e0, e1 = eigenvalues_2x2(
                        load(ring, here + _DYY), load(ring, here + _DXY), load(ring, here + _DXX)
                    )
                    store(bricks, brick + hessian * 64, e0)
                    store(bricks, brick + hessian * 64 + 64, e1)
                continue
            centre, near, far = sums(ring, planes, at + _XY, radius)
            if smoothing >= 0 or difference >= 0:
                s = tapped(centre, near, far, taps, ORDER_0, radius)
                if smoothing >= 0:
                    store(bricks, brick + smoothing * 64, s)
                if difference >= 0:
                    c, n, f = sums(ring, planes, at + _NARROW, narrow_radius)
                    s = s - tapped(c, n, f, taps, NARROW, narrow_radius)
                    store(bricks, brick + difference * 64, s)
            if gradient >= 0:
                c, n, f = differences(ring, planes, at + _XY, radius)
                dz = tapped(c, n, f, taps, ORDER_1, radius)
                c, n, f = sums(ring, planes, at + _DY, radius)
                dy = tapped(c, n, f, taps, ORDER_0, radius)
                c, n, f = sums(ring, planes, at + _DX, radius)
                dx = tapped(c, n, f, taps, ORDER_0, radius)
                store(bricks, brick + gradient * 64, root((dx * dx + dy * dy) + dz * dz))
            if laplacian >= 0 or hessian >= 0:
                zz = tapped(centre, near, far, taps, ORDER_2, radius)
                c, n, f = sums(ring, planes, at + _DYY, radius)
                yy = tapped(c, n, f, taps, ORDER_0, radius)
                c, n, f = sums(ring, planes, at + _DXX, radius)
                xx = tapped(c, n, f, taps, ORDER_0, radius)
                if laplacian >= 0:
                    store(bricks, brick + laplacian * 64, (xx + yy) + zz)
                if hessian >= 0:
                    c, n, f = differences(ring, planes, at + _DY, radius)
                    yz = tapped(c, n, f, taps, ORDER_1, radius)
                    c, n, f = differences(ring, planes, at + _DX, radius)
                    xz = tapped(c, n, f, taps, ORDER_1, radius)
                    c, n, f = sums(ring, planes, at + _DXY, radius)
                    xy = tapped(c, n, f, taps, ORDER_0, radius)
                    e0, e1, e2 = eigenvalues_3x3(zz, yz, xz, yy, xy, xx)
                    store(bricks, brick + hessian * 64, e0)
                    store(bricks, brick + hessian * 64 + 64, e1)
                    store(bricks, brick + hessian * 64 + 128, e2)
