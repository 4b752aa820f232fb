"""Smoothing, Laplacian, gradient magnitude, Hessian and difference of Gaussians of one scale.

They share their passes: the x pass gives orders 0, 1, 2 of every row, the y pass the six mixed
derivatives up to order 2, the z pass the rest, and the features are made from registers and written
straight into the bricks.
"""

from tbseg_ops.engines.native.features.blocks import (
    BRICK,
    FIELD,
    REACH,
    ROW,
    Block,
    block_at,
    brick_plane,
    down,
    ring_planes,
    square,
)
from tbseg_ops.engines.native.features.eigenvalues import eigenvalues_2x2, eigenvalues_3x3
from tbseg_ops.engines.native.features.filters import Places, along, tapped
from tbseg_ops.engines.native.features.layout import (
    COLUMNS,
    LANES,
    LEFT,
    MARGIN,
    ROWS,
    SCRATCH,
    STRIDE_OF_TAPS,
    Floats,
    Kernels,
    SmoothedPlanes,
    Wanted,
)
from tbseg_ops.engines.native.features.simd import (
    Pointer,
    load,
    pointer,
    root,
    store,
)
from tbseg_ops.engines.native.jit import compiled

# Kernels in the flat array of taps; NARROW has the small radius.
ORDER_0, ORDER_1, ORDER_2, NARROW = (STRIDE_OF_TAPS * k for k in range(4))
# Fields of a block after the y pass: derivatives in x and y, then the narrow Gaussian.
_XY, _DX, _DY, _DXX, _DXY, _DYY, _NARROW = (FIELD * k for k in range(7))
_SLOT = 7 * FIELD
# Scratch: the ring of fields, then the four results of the x pass, in rows.
_ROW_FIELD = (ROWS + 2 * REACH) * ROW
_AT_ROWS = 5 * _SLOT
assert _AT_ROWS + 4 * _ROW_FIELD <= SCRATCH


@compiled
def derivative_bricks(
    smoothed: SmoothedPlanes,
    kernels: Kernels,
    wanted: Wanted,
    scratch: Floats,
    bricks: Floats,
    columns: int,
) -> None:
    """Write the wanted columns of one slab into flat bricks [brick][column][64]."""
    depth, ny, nx = smoothed.shape
    smooth, work, out = pointer(smoothed.smooth), pointer(scratch), pointer(bricks)
    taps = Kernels(pointer(kernels.taps), kernels.radius, kernels.small_radius, kernels.flat)
    reach = 0 if kernels.flat else kernels.radius
    for y in range(0, ny, ROWS):
        for x in range(0, nx, COLUMNS):
            block = block_at(y, x, smoothed.shape)
            corner = (y + MARGIN) * smoothed.stride + x + LEFT
            for z in range(-reach, depth + reach):
                at = smoothed.planes[z + MARGIN] + corner
                slot = (z + reach) % (2 * reach + 1) * _SLOT
                _across(smooth, at, smoothed.stride, block, taps, wanted, work)
                _down(block, taps, wanted, work, slot)
                done = z - reach
                if done >= 0:
                    ring = ring_planes(done + reach, reach, _SLOT)
                    to = brick_plane(block, done, smoothed.shape, columns)
                    if kernels.flat:
                        _features_2d(work, block, wanted, out, to, columns)
                    else:
                        _features_3d(work, ring, block, taps, wanted, out, to, columns)


@compiled
def _across(
    smooth: Pointer,
    origin: int,
    stride: int,
    block: Block,
    kernels: Kernels,
    wanted: Wanted,
    scratch: Pointer,
) -> None:
    """The x pass of a block and of the rows around it, into four fields of rows."""
    taps, radius = kernels.taps, kernels.radius
    for y in range(-radius, block.rows + radius):
        for x in range(0, block.width, LANES):
            at = origin + y * stride + x
            centre = load(smooth, at)
            near, far, rise, climb = centre, centre, centre, centre
            if radius > 0:
                right, left = load(smooth, at + 1), load(smooth, at - 1)
                near, rise = right + left, right - left
            if radius > 1:
                right, left = load(smooth, at + 2), load(smooth, at - 2)
                far, climb = right + left, right - left
            to = _AT_ROWS + (y + REACH) * ROW + x
            store(scratch, to, tapped(centre, near, far, taps, ORDER_0, radius))
            store(scratch, to + _ROW_FIELD, tapped(centre, rise, climb, taps, ORDER_1, radius))
            store(scratch, to + 2 * _ROW_FIELD, tapped(centre, near, far, taps, ORDER_2, radius))
            if wanted.difference >= 0:
                s = tapped(centre, near, centre, taps, NARROW, kernels.small_radius)
                store(scratch, to + 3 * _ROW_FIELD, s)


@compiled
def _down(block: Block, kernels: Kernels, wanted: Wanted, scratch: Pointer, slot: int) -> None:
    """The y pass of a block into one slot of the ring."""
    s, t, n = scratch, kernels.taps, kernels.radius
    x_0 = _AT_ROWS + REACH * ROW
    x_1, x_2, narrow = x_0 + _ROW_FIELD, x_0 + 2 * _ROW_FIELD, x_0 + 3 * _ROW_FIELD
    laplacian, hessian = wanted.laplacian >= 0, wanted.hessian >= 0
    down(s, x_0, ROW, block, t, ORDER_0, 1.0, n, s, slot + _XY)
    if hessian or wanted.gradient >= 0:
        down(s, x_1, ROW, block, t, ORDER_0, 1.0, n, s, slot + _DX)
        down(s, x_0, ROW, block, t, ORDER_1, -1.0, n, s, slot + _DY)
    if hessian or laplacian:
        down(s, x_2, ROW, block, t, ORDER_0, 1.0, n, s, slot + _DXX)
        down(s, x_0, ROW, block, t, ORDER_2, 1.0, n, s, slot + _DYY)
    if hessian:
        down(s, x_1, ROW, block, t, ORDER_1, -1.0, n, s, slot + _DXY)
    if wanted.difference >= 0:
        down(s, narrow, ROW, block, t, NARROW, 1.0, kernels.small_radius, s, slot + _NARROW)


@compiled
def _features_3d(
    ring: Pointer,
    planes: Places,
    block: Block,
    kernels: Kernels,
    wanted: Wanted,
    bricks: Pointer,
    first: int,
    columns: int,
) -> None:
    """The z pass of a block, its features, and their place in the bricks."""
    taps, n = kernels.taps, kernels.radius
    smoothing, laplacian, gradient, difference, hessian = wanted
    for y in range(block.bricks_y):
        for x in range(block.bricks_x):
            at = square(y, x)
            to = first + (y * block.line + x) * columns * BRICK
            if smoothing >= 0 or difference >= 0:
                s = along(ring, planes, at + _XY, 1.0, taps, ORDER_0, n)
                if smoothing >= 0:
                    store(bricks, to + smoothing * BRICK, s)
                if difference >= 0:
                    small = kernels.small_radius
                    d = along(ring, planes, at + _NARROW, 1.0, taps, NARROW, small)
                    store(bricks, to + difference * BRICK, s - d)
            if gradient >= 0:
                dx = along(ring, planes, at + _DX, 1.0, taps, ORDER_0, n)
                dy = along(ring, planes, at + _DY, 1.0, taps, ORDER_0, n)
                dz = along(ring, planes, at + _XY, -1.0, taps, ORDER_1, n)
                store(bricks, to + gradient * BRICK, root((dx * dx + dy * dy) + dz * dz))
            if laplacian >= 0 or hessian >= 0:
                xx = along(ring, planes, at + _DXX, 1.0, taps, ORDER_0, n)
                yy = along(ring, planes, at + _DYY, 1.0, taps, ORDER_0, n)
                zz = along(ring, planes, at + _XY, 1.0, taps, ORDER_2, n)
                if laplacian >= 0:
                    store(bricks, to + laplacian * BRICK, (xx + yy) + zz)
                if hessian >= 0:
                    yz = along(ring, planes, at + _DY, -1.0, taps, ORDER_1, n)
                    xz = along(ring, planes, at + _DX, -1.0, taps, ORDER_1, n)
                    xy = along(ring, planes, at + _DXY, 1.0, taps, ORDER_0, n)
                    e0, e1, e2 = eigenvalues_3x3(zz, yz, xz, yy, xy, xx)
                    store(bricks, to + hessian * BRICK, e0)
                    store(bricks, to + (hessian + 1) * BRICK, e1)
                    store(bricks, to + (hessian + 2) * BRICK, e2)


@compiled
def _features_2d(
    fields: Pointer, block: Block, wanted: Wanted, bricks: Pointer, first: int, columns: int
) -> None:
    """The features of a block of one slice, and their place in the bricks."""
    smoothing, laplacian, gradient, difference, hessian = wanted
    for y in range(block.bricks_y):
        for x in range(block.bricks_x):
            at = square(y, x)
            to = first + (y * block.line + x) * columns * BRICK
            s = load(fields, at + _XY)
            xx, yy = load(fields, at + _DXX), load(fields, at + _DYY)
            if smoothing >= 0:
                store(bricks, to + smoothing * BRICK, s)
            if difference >= 0:
                store(bricks, to + difference * BRICK, s - load(fields, at + _NARROW))
            if gradient >= 0:
                dx, dy = load(fields, at + _DX), load(fields, at + _DY)
                store(bricks, to + gradient * BRICK, root(dx * dx + dy * dy))
            if laplacian >= 0:
                store(bricks, to + laplacian * BRICK, xx + yy)
            if hessian >= 0:
                e0, e1 = eigenvalues_2x2(yy, load(fields, at + _DXY), xx)
                store(bricks, to + hessian * BRICK, e0)
                store(bricks, to + (hessian + 1) * BRICK, e1)
