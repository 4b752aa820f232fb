"""Eigenvalues of the structure tensor of one scale.

First derivatives at the inner scale, their six products, each smoothed at the outer scale. At a
true face of the volume ilastik mirrors the products. Here the mirrored volume is differentiated
beyond the face, which turns the sign of the derivative across it; ``Signs`` turns it back.
"""

from tbseg_ops.engines.native.features.blocks import (
    BRICK,
    FIELD,
    REACH,
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
    Signs,
    SmoothedPlanes,
)
from tbseg_ops.engines.native.features.simd import (
    Pointer,
    element,
    load,
    pointer,
    splat,
    store,
)
from tbseg_ops.engines.native.jit import compiled

# Kernels in the flat array of taps; the inner ones have the small radius, 0 or 1.
INNER_0, INNER_1, OUTER = (STRIDE_OF_TAPS * k for k in range(3))
# Products of derivatives; 2D has the last three.
_ZZ, _YZ, _XZ, _YY, _XY, _XX = range(6)
_PRODUCTS = 6
_SLOT = _PRODUCTS * FIELD
# Rows hold two more columns on each side than a block, in whole vectors.
_WIDE = COLUMNS + LANES
_TALL = ROWS + 2 * REACH
_ROW_FIELD = (_TALL + 2) * _WIDE
_INNER_FIELD = _TALL * _WIDE
_S, _DX, _DY = (_INNER_FIELD * k for k in range(3))
_INNER_SLOT = 3 * _INNER_FIELD
_PRODUCT_ROW = _WIDE + LANES
# Scratch: the ring of smoothed products in squares; the ring of inner derivatives; the x pass of
# the inner kernels; one row of products; the x pass of the outer kernel.
_AT_INNER = 5 * _SLOT
_AT_ROWS = _AT_INNER + 3 * _INNER_SLOT
_AT_PRODUCTS = _AT_ROWS + 2 * _ROW_FIELD
_AT_OUTER = _AT_PRODUCTS + _PRODUCTS * _PRODUCT_ROW
assert _AT_OUTER + _PRODUCTS * _INNER_FIELD <= SCRATCH


@compiled
def tensor_bricks(
    smoothed: SmoothedPlanes,
    kernels: Kernels,
    signs: Signs,
    column: int,
    scratch: Floats,
    bricks: Floats,
    columns: int,
) -> None:
    """Write the three (2D: two) columns from ``column`` on into flat bricks [brick][column][64]."""
    depth, ny, nx = smoothed.shape
    smooth, work, out = pointer(smoothed.smooth), pointer(scratch), pointer(bricks)
    taps = Kernels(pointer(kernels.taps), kernels.radius, kernels.small_radius, kernels.flat)
    inner_reach, reach = (0, 0) if kernels.flat else (kernels.small_radius, kernels.radius)
    for y in range(0, ny, ROWS):
        for x in range(0, nx, COLUMNS):
            block = block_at(y, x, smoothed.shape)
            corner = (y + MARGIN) * smoothed.stride + x + LEFT
            for z in range(-reach - inner_reach, depth + reach + inner_reach):
                at = smoothed.planes[z + MARGIN] + corner
                _inner(smooth, at, smoothed.stride, block, taps, work, _inner_slot(z))
                middle = z - inner_reach
                if middle < -reach:
                    continue
                sign = signs.z[middle + MARGIN]
                slot = (middle + reach) % (2 * reach + 1) * _SLOT
                _outer(middle, block, taps, sign, pointer(signs.y), pointer(signs.x), work, slot)
                done = middle - reach
                if done >= 0:
                    ring = ring_planes(done + reach, reach, _SLOT)
                    to = brick_plane(block, done, smoothed.shape, columns) + column * BRICK
                    if kernels.flat:
                        _features_2d(work, block, out, to, columns)
                    else:
                        _features_3d(work, ring, block, taps, out, to, columns)


@compiled
def _inner_slot(z: int) -> int:
    """Where plane ``z`` (not before -3) lies in the ring of inner derivatives."""
    return _AT_INNER + (z + MARGIN) % 3 * _INNER_SLOT


@compiled
def _inner(
    smooth: Pointer,
    origin: int,
    stride: int,
    block: Block,
    kernels: Kernels,
    scratch: Pointer,
    slot: int,
) -> None:
    """x and y passes of the inner kernels, REACH voxels beyond the block: smoothed, d/dx, d/dy."""
    taps, radius, n = kernels.taps, kernels.radius, kernels.small_radius
    for y in range(-radius - n, block.rows + radius + n):
        for x in range(0, block.width + LANES, LANES):
            at = origin + y * stride + x - REACH
            centre = load(smooth, at)
            near, rise = centre, centre
            if n > 0:
                right, left = load(smooth, at + 1), load(smooth, at - 1)
                near, rise = right + left, right - left
            to = _AT_ROWS + (y + MARGIN) * _WIDE + x
            store(scratch, to, tapped(centre, near, near, taps, INNER_0, n))
            store(scratch, to + _ROW_FIELD, tapped(centre, rise, rise, taps, INNER_1, n))
    for y in range(-radius, block.rows + radius):
        for x in range(0, block.width + LANES, LANES):
            at = _AT_ROWS + (y + MARGIN) * _WIDE + x
            slopes = at + _ROW_FIELD
            centre, slope = load(scratch, at), load(scratch, slopes)
            near, rise, beside = centre, centre, slope
            if n > 0:
                below, above = load(scratch, at + _WIDE), load(scratch, at - _WIDE)
                near, rise = below + above, below - above
                beside = load(scratch, slopes + _WIDE) + load(scratch, slopes - _WIDE)
            to = slot + (y + REACH) * _WIDE + x
            store(scratch, to + _S, tapped(centre, near, near, taps, INNER_0, n))
            store(scratch, to + _DX, tapped(slope, beside, beside, taps, INNER_0, n))
            store(scratch, to + _DY, tapped(centre, rise, rise, taps, INNER_1, n))


@compiled
def _outer(
    z: int,
    block: Block,
    kernels: Kernels,
    sign_z: float,
    signs_y: Pointer,
    signs_x: Pointer,
    scratch: Pointer,
    slot: int,
) -> None:
    """Products of the derivatives of plane ``z``, and x and y passes of the outer kernel."""
    radius = kernels.radius
    first = _YY if kernels.flat else _ZZ
    for y in range(-radius, block.rows + radius):
        row = (y + REACH) * _WIDE
        sign_y = element(signs_y, block.y + y + MARGIN)
        _products(z, row, block, kernels, sign_z, sign_y, signs_x, scratch)
        for k in range(first, _PRODUCTS):
            for x in range(0, block.width, LANES):
                at = _AT_PRODUCTS + k * _PRODUCT_ROW + x + REACH
                s = along(scratch, (-2, -1, 0, 1, 2), at, 1.0, kernels.taps, OUTER, radius)
                store(scratch, _AT_OUTER + k * _INNER_FIELD + row + x, s)
    for k in range(first, _PRODUCTS):
        at = _AT_OUTER + k * _INNER_FIELD + REACH * _WIDE
        to = slot + k * FIELD
        down(scratch, at, _WIDE, block, kernels.taps, OUTER, 1.0, radius, scratch, to)


@compiled
def _products(
    z: int,
    row: int,
    block: Block,
    kernels: Kernels,
    sign_z: float,
    sign_y: float,
    signs_x: Pointer,
    scratch: Pointer,
) -> None:
    """z pass of the inner kernels for one row, and the products of its derivatives."""
    taps, n, s = kernels.taps, kernels.small_radius, scratch
    above, here, below = _inner_slot(z - n), _inner_slot(z), _inner_slot(z + n)
    planes = above, above, here, below, below  # n is 0 or 1
    for x in range(0, block.width + LANES, LANES):
        i = row + x
        to = _AT_PRODUCTS + x
        sign_x = load(signs_x, block.x + x + LEFT - REACH)
        if kernels.flat:
            dx = load(s, here + i + _DX) * sign_x
            dy = load(s, here + i + _DY) * splat(sign_y)
        else:
            dx = along(s, planes, i + _DX, 1.0, taps, INNER_0, n) * sign_x
            dy = along(s, planes, i + _DY, 1.0, taps, INNER_0, n) * splat(sign_y)
            dz = along(s, planes, i + _S, -1.0, taps, INNER_1, n) * splat(sign_z)
            store(s, to + _ZZ * _PRODUCT_ROW, dz * dz)
            store(s, to + _YZ * _PRODUCT_ROW, dy * dz)
            store(s, to + _XZ * _PRODUCT_ROW, dx * dz)
        store(s, to + _YY * _PRODUCT_ROW, dy * dy)
        store(s, to + _XY * _PRODUCT_ROW, dx * dy)
        store(s, to + _XX * _PRODUCT_ROW, dx * dx)


@compiled
def _features_3d(
    ring: Pointer,
    planes: Places,
    block: Block,
    kernels: Kernels,
    bricks: Pointer,
    first: int,
    columns: int,
) -> None:
    """z pass of the outer kernel, eigenvalues, and their place in the bricks."""
    taps, n = kernels.taps, kernels.radius
    for y in range(block.bricks_y):
        for x in range(block.bricks_x):
            at = square(y, x)
            to = first + (y * block.line + x) * columns * BRICK
            e0, e1, e2 = eigenvalues_3x3(
                along(ring, planes, at + _ZZ * FIELD, 1.0, taps, OUTER, n),
                along(ring, planes, at + _YZ * FIELD, 1.0, taps, OUTER, n),
                along(ring, planes, at + _XZ * FIELD, 1.0, taps, OUTER, n),
                along(ring, planes, at + _YY * FIELD, 1.0, taps, OUTER, n),
                along(ring, planes, at + _XY * FIELD, 1.0, taps, OUTER, n),
                along(ring, planes, at + _XX * FIELD, 1.0, taps, OUTER, n),
            )
            store(bricks, to, e0)
            store(bricks, to + BRICK, e1)
            store(bricks, to + 2 * BRICK, e2)


@compiled
def _features_2d(fields: Pointer, block: Block, bricks: Pointer, first: int, columns: int) -> None:
    """Eigenvalues of one slice, and their place in the bricks."""
    for y in range(block.bricks_y):
        for x in range(block.bricks_x):
            at = square(y, x)
            to = first + (y * block.line + x) * columns * BRICK
            e0, e1 = eigenvalues_2x2(
                load(fields, at + _YY * FIELD),
                load(fields, at + _XY * FIELD),
                load(fields, at + _XX * FIELD),
            )
            store(bricks, to, e0)
            store(bricks, to + BRICK, e1)
