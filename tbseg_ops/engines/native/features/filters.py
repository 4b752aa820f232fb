"""One-dimensional passes of the Gaussian kernels, sixteen voxels at a time.

Every pass is ``s = c0*v``, then ``s = fma(right + left, c_k, s)`` for k = 1..radius (``right -
left`` for first derivatives): one rounding each, in x, y and z, at every position, as in ilastik
where it does not depend on its own blocks (docs/exactness.md). Kernels are the taps 0..radius of
``gaussians.taps``; those of the features reach two voxels at most and lie three floats apart in
one flat array, so that one set of loads serves several of them.
"""

from typing import Any

from tbseg_ops.engines.native.features.layout import LANES, Floats, Ints
from tbseg_ops.engines.native.features.simd import (
    Pointer,
    Vector,
    element,
    fma,
    load,
    pointer,
    splat,
    store,
)
from tbseg_ops.engines.native.jit import compiled, inlined

Places = tuple[int, int, int, int, int]


@inlined
def tapped(centre: Any, near: Any, far: Any, taps: Pointer, at: int, radius: int) -> Any:
    """One output of a pass of radius 0, 1 or 2; ``near`` and ``far`` are the sums (differences)."""
    s = centre * splat(element(taps, at))
    if radius > 0:
        s = fma(near, splat(element(taps, at + 1)), s)
    if radius > 1:
        s = fma(far, splat(element(taps, at + 2)), s)
    return s


@inlined
def along(
    source: Pointer, places: Places, at: int, sign: float, taps: Pointer, kernel: int, radius: int
) -> Vector:
    """A pass of radius 0, 1 or 2 for the vector at ``at``.

    ``places``: where its neighbours -2 ... 2 along the axis lie, from ``at`` on. ``sign`` is 1 for
    even kernels and -1 for odd ones: right + sign * left is exact.
    """
    turn = splat(sign)
    centre = load(source, places[2] + at)
    near, far = centre, centre
    if radius > 0:
        near = load(source, places[3] + at) + turn * load(source, places[1] + at)
    if radius > 1:
        far = load(source, places[4] + at) + turn * load(source, places[0] + at)
    return tapped(centre, near, far, taps, kernel, radius)


@compiled
def smooth_rows(
    source_: Floats,
    start_step: int,
    rows_: Ints,
    row_step: int,
    taps_: Floats,
    width: int,
    target_: Floats,
    to: int,
    step: int,
    count: int,
) -> None:
    """``count`` rows, each an even kernel of any radius across whole rows of ``source_``.

    Row j weights those that begin at ``j * start_step + rows_[j * row_step ...]``, 2 * radius + 1
    of them; a pass along a padded row itself gives the "rows" 0, 1, 2 ... ``width`` floats, a
    multiple of 16, are written to ``target_[to + j * step:]``.
    """
    source, rows, taps, target = pointer(source_), pointer(rows_), pointer(taps_), pointer(target_)
    radius = taps_.size - 1
    first = splat(element(taps, 0))
    for j in range(count):
        start, row = j * start_step, j * row_step + radius
        middle = start + element(rows, row)
        i = 0
        # Four vectors at a time hide the latency of the additions, which must stay in order.
        while i + 4 * LANES <= width:
            s0 = load(source, middle + i) * first
            s1 = load(source, middle + i + LANES) * first
            s2 = load(source, middle + i + 2 * LANES) * first
            s3 = load(source, middle + i + 3 * LANES) * first
            for k in range(1, radius + 1):
                tap = splat(element(taps, k))
                a = start + element(rows, row + k) + i
                b = start + element(rows, row - k) + i
                s0 = fma(load(source, a) + load(source, b), tap, s0)
                s1 = fma(load(source, a + LANES) + load(source, b + LANES), tap, s1)
                s2 = fma(load(source, a + 2 * LANES) + load(source, b + 2 * LANES), tap, s2)
                s3 = fma(load(source, a + 3 * LANES) + load(source, b + 3 * LANES), tap, s3)
            store(target, to + i, s0)
            store(target, to + i + LANES, s1)
            store(target, to + i + 2 * LANES, s2)
            store(target, to + i + 3 * LANES, s3)
            i += 4 * LANES
        while i < width:
            s0 = load(source, middle + i) * first
            for k in range(1, radius + 1):
                a = start + element(rows, row + k) + i
                b = start + element(rows, row - k) + i
                s0 = fma(load(source, a) + load(source, b), splat(element(taps, k)), s0)
            store(target, to + i, s0)
            i += LANES
        to += step
