"""Eigenvalues of symmetric 2x2 and 3x3 matrices in float32, sixteen at a time, by closed forms.

The trigonometric form for 3x3 and every rounding in it are those of ilastik's filter library: the
small eigenvalues carry visible float32 noise, and that noise is part of the answer. No fused
multiply-add is used here.
"""

from math import pi, sqrt
from typing import Any

import numpy as np

from tbseg_ops.engines.native.features.simd import magnitude, root, select, splat
from tbseg_ops.engines.native.jit import inlined

_f = np.float32
_ZERO, _HALF, _ONE, _TWO = _f(0), _f(0.5), _f(1), _f(2)
_THIRD, _SQRT3 = _f(1 / 3), _f(sqrt(3))
_PI, _HALF_PI, _FOUR_OVER_PI = _f(pi), _f(pi / 2), _f(1.27323954473516)
# atan(s) = s + s*t*(a0*t^7 + ... + a7), t = s*s
_A0, _A1 = _f(0.00282363896258175373), _f(-0.0159569028764963150)
_A2, _A3 = _f(0.0425049886107444763), _f(-0.0748900920152664185)
_A4, _A5 = _f(0.106347933411598206), _f(-0.142027363181114197)
_A6, _A7 = _f(0.199926957488059998), _f(-0.333331018686294556)
# pi/4 in three parts, so that the reduction of the angle loses nothing
_P1, _P2, _P3 = _f(0.78515625), _f(2.4187564849853515625e-4), _f(3.77489497744594108e-8)
_C0, _C1, _C2 = _f(2.443315711809948e-5), _f(-1.388731625493765e-3), _f(4.166664568298827e-2)
_S0, _S1, _S2 = _f(-1.9515295891e-4), _f(8.3321608736e-3), _f(-1.6666654611e-1)


@inlined
def smaller(a: Any, b: Any) -> Any:
    """The smaller of two vectors lane by lane; ``b`` where either is NaN."""
    return select(a < b, a, b)


@inlined
def larger(a: Any, b: Any) -> Any:
    """The larger of two vectors lane by lane; ``b`` where either is NaN."""
    return select(b < a, a, b)


@inlined
def arctangent(y: Any, x: Any) -> Any:
    """atan2 of y >= 0 and any x."""
    zero = splat(_ZERO)
    width = magnitude(x)
    steep = width < y
    numerator = select(steep, -width, y)
    denominator = select(steep, y, width)
    s = numerator / denominator
    t = s * s
    u = splat(_A0) * t + splat(_A1)
    u = u * t + splat(_A2)
    u = u * t + splat(_A3)
    u = u * t + splat(_A4)
    u = u * t + splat(_A5)
    u = u * t + splat(_A6)
    u = u * t + splat(_A7)
    left = x < zero
    quadrants = select(left, splat(-_TWO), zero) + select(steep, splat(_ONE), zero)
    angle = (s * t) * u + s + quadrants * splat(_HALF_PI)
    angle = select(left, -angle, angle)
    angle = select(denominator == zero, splat(_HALF_PI), angle)
    return select(numerator == zero, select(left, splat(_PI), zero), angle)


@inlined
def sine_and_cosine(angle: Any) -> Any:
    """(sin, cos) of an angle in 0..pi/3."""
    zero = splat(_ZERO)
    near = angle * splat(_FOUR_OVER_PI) < splat(_ONE)
    j = select(near, zero, splat(_TWO))
    w = ((angle - j * splat(_P1)) - j * splat(_P2)) - j * splat(_P3)
    z = w * w
    c = ((splat(_C0) * z + splat(_C1)) * z + splat(_C2)) * z
    c = c * z - z * splat(_HALF) + splat(_ONE)
    s = ((splat(_S0) * z + splat(_S1)) * z + splat(_S2)) * z
    s = s * w + w
    return select(near, s, c), select(near, c, -s)


@inlined
def eigenvalues_3x3(zz: Any, yz: Any, xz: Any, yy: Any, xy: Any, xx: Any) -> Any:
    """The three eigenvalues, largest first, of symmetric matrices given by six vectors.

    A NaN or an infinity in the matrix gives NaN.
    """
    zero, third = splat(_ZERO), splat(_THIRD)
    size = larger(larger(magnitude(zz), magnitude(yz)), larger(magnitude(xz), magnitude(yy)))
    size = larger(larger(magnitude(xy), magnitude(xx)), size)
    size = select(size == zero, splat(_ONE), size)
    zz, yz, xz = zz / size, yz / size, xz / size
    yy, xy, xx = yy / size, xy / size, xx / size
    c0 = (zz * yy) * xx + ((splat(_TWO) * yz) * xz) * xy
    c0 = ((c0 - (zz * xy) * xy) - (yy * xz) * xz) - (xx * yz) * yz
    c1 = ((((zz * yy - yz * yz) + zz * xx) - xz * xz) + yy * xx) - xy * xy
    c2 = (zz + yy) + xx
    d = c2 * third
    p = smaller(zero, (c1 - c2 * d) * third)
    h = splat(_HALF) * (c0 + d * ((splat(_TWO) * d) * d - c1))
    q = smaller(zero, h * h + (p * p) * p)
    r = root(-p)
    sine, cosine = sine_and_cosine(arctangent(root(-q), h) * third)
    sine = splat(_SQRT3) * sine
    e0 = d + (splat(_TWO) * r) * cosine
    e1 = d - r * (cosine + sine)
    e2 = d - r * (cosine - sine)
    upper, lower = larger(e0, e1), smaller(e0, e1)
    middle = smaller(upper, e2)
    return larger(upper, e2) * size, larger(lower, middle) * size, smaller(lower, middle) * size


@inlined
def eigenvalues_2x2(yy: Any, xy: Any, xx: Any) -> Any:
    """The two eigenvalues, larger first, of symmetric matrices given by three vectors."""
    half = splat(_HALF)
    mean, difference = half * (yy + xx), half * (yy - xx)
    spread = root(difference * difference + xy * xy)
    return mean + spread, mean - spread
