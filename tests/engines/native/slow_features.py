"""The features once more, as plainly as they can be written: numpy, whole volumes, no blocks."""

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.passport import Feature

Floats = NDArray[np.float32]
f = np.float32


def slow_features(
    raw: NDArray[np.generic], features: tuple[Feature, ...], alone: int = 0
) -> Floats:
    """(columns, z, y, x) of a whole volume (z, y, x, c).

    ilastik computes 3x3 eigenvalues by eights, and ``alone``, the rest of the voxels, one by one.
    """
    return np.stack(
        [
            column
            for feature in features
            for channel in range(raw.shape[3])
            for column in _feature(raw[..., channel].astype(np.float32), feature, alone)
        ]
    )


def _feature(raw: Floats, feature: Feature, alone: int) -> list[Floats]:
    axes = (2, 1) if feature.in_2d else (2, 1, 0)
    window = gaussians.FEATURE_WINDOW
    t = gaussians.feature_sigma(feature.scale)

    def gauss(v: Floats, sigma: float, window: float, *derive: int) -> Floats:
        for axis in axes:
            order = derive.count(axis)
            taps = gaussians.taps(sigma, order, window)
            v = _convolve(v, taps, axis, order == 1)
        return v

    smooth = gauss(raw, gaussians.presmooth_sigma(feature.scale), gaussians.PRESMOOTH_WINDOW)
    if feature.id == gaussians.SMOOTHING:
        return [gauss(smooth, t, window)]
    if feature.id == gaussians.DIFFERENCE:
        return [gauss(smooth, t, window) - gauss(smooth, 0.66 * t, window)]
    if feature.id == gaussians.LAPLACIAN:
        return [sum((gauss(smooth, t, window, a, a) for a in axes), start=f(0))]
    if feature.id == gaussians.GRADIENT_MAGNITUDE:
        return [np.sqrt(sum((gauss(smooth, t, window, a) ** 2 for a in axes), start=f(0)))]
    order = sorted(axes)
    pairs = [(a, b) for a in order for b in order if a <= b]
    if feature.id == gaussians.HESSIAN:
        matrix = [gauss(smooth, t, window, a, b) for a, b in pairs]
    else:
        slopes = {a: gauss(smooth, 0.5 * t, window, a) for a in axes}
        matrix = [gauss(slopes[a] * slopes[b], t, window) for a, b in pairs]
    if feature.in_2d:
        return _eigenvalues_2x2(*matrix)
    values = _eigenvalues_3x3(*matrix)
    if alone:
        rest = _eigenvalues_one_by_one(*(entry.reshape(-1)[-alone:] for entry in matrix))
        for value, last in zip(values, rest, strict=True):
            value.reshape(-1)[-alone:] = last
    return values


def _convolve(v: Floats, taps: Floats, axis: int, odd: bool) -> Floats:
    n = v.shape[axis]
    period = max(1, 2 * (n - 1))

    def shifted(by: int) -> Floats:
        i = (np.arange(n) + by) % period
        return v.take(np.where(i < n, i, period - i), axis)

    s = v * taps[0]
    for k in range(1, len(taps)):
        pair = shifted(k) - shifted(-k) if odd else shifted(k) + shifted(-k)
        s = _fma(pair, taps[k], s)
    return s


def _fma(a: Floats, b: np.float32, c: Floats) -> Floats:
    """a * b + c rounded once: through float64 rounded to odd, where nothing is rounded twice."""
    product = a.astype(np.float64) * np.float64(b)
    addend = c.astype(np.float64)
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = total.view(np.int64) & 1 == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where((error != 0) & even, odd, total).astype(np.float32)


def _eigenvalues_2x2(yy: Floats, xy: Floats, xx: Floats) -> list[Floats]:
    mean, half = f(0.5) * (yy + xx), f(0.5) * (yy - xx)
    spread = np.sqrt(half * half + xy * xy)
    return [mean + spread, mean - spread]


def _eigenvalues_3x3(*matrix: Floats) -> list[Floats]:
    size = np.abs(matrix).max(axis=0)
    size[size == 0] = 1
    a00, a01, a02, a11, a12, a22 = (a / size for a in matrix)
    c0 = a00 * a11 * a22 + f(2) * a01 * a02 * a12
    c0 = c0 - a00 * a12 * a12 - a11 * a02 * a02 - a22 * a01 * a01
    c1 = a00 * a11 - a01 * a01 + a00 * a22 - a02 * a02 + a11 * a22 - a12 * a12
    c2 = a00 + a11 + a22
    d = c2 * f(1 / 3)
    p = np.minimum((c1 - c2 * d) * f(1 / 3), f(0))
    h = f(0.5) * (c0 + d * (f(2) * d * d - c1))
    q = np.minimum(h * h + p * p * p, f(0))
    r = np.sqrt(-p)
    angle = _arctangent(np.sqrt(-q), h) * f(1 / 3)
    sine, cosine = _sine_and_cosine(angle)
    values = [
        d + f(2) * r * cosine,
        d - r * (cosine + f(np.sqrt(3)) * sine),
        d - r * (cosine - f(np.sqrt(3)) * sine),
    ]
    return list(np.sort(values, axis=0)[::-1] * size)


def _eigenvalues_one_by_one(*matrix: Floats) -> list[Floats]:
    """As ilastik's loop for single voxels: some steps in double, angles by the C library."""
    size = np.abs(matrix).max(axis=0)
    size[size == 0] = 1
    a00, a01, a02, a11, a12, a22 = (a * (f(1) / size) for a in matrix)
    two, half = np.float64(2), np.float64(0.5)
    c0 = a00 * a11 * a22 + two * a01 * a02 * a12
    c0 = f(c0 - a00 * a12 * a12 - a11 * a02 * a02 - a22 * a01 * a01)
    c1 = a00 * a11 - a01 * a01 + a00 * a22 - a02 * a02 + a11 * a22 - a12 * a12
    d = (a00 + a11 + a22) * f(1 / 3)
    p = np.minimum((c1 - (a00 + a11 + a22) * d) * f(1 / 3), f(0))
    h = f(half * (c0 + d * (two * d * d - c1)))
    q = np.minimum(h * h + p * p * p, f(0))
    r = np.sqrt(-p)
    angle = f(np.arctan2(np.sqrt(np.float64(-q)), np.float64(h)) * f(1 / 3))
    sine, cosine = f(np.sin(np.float64(angle))), f(np.cos(np.float64(angle)))
    values = [
        f(d + two * r * cosine),
        d - r * (cosine + f(np.sqrt(3)) * sine),
        d - r * (cosine - f(np.sqrt(3)) * sine),
    ]
    return list(np.sort(values, axis=0)[::-1] * size)


def _arctangent(y: Floats, x: Floats) -> Floats:
    width = np.abs(x)
    swap = y > width
    numerator, denominator = np.where(swap, -width, y), np.where(swap, y, width)
    s = np.divide(numerator, denominator, out=np.zeros_like(y), where=denominator != 0)
    t = s * s
    u = np.full_like(t, 0.00282363896258175373)
    for a in (
        -0.0159569028764963150,
        0.0425049886107444763,
        -0.0748900920152664185,
        0.106347933411598206,
        -0.142027363181114197,
        0.199926957488059998,
        -0.333331018686294556,
    ):
        u = u * t + f(a)
    turns = np.where(x < 0, f(-2), f(0)) + np.where(swap, f(1), f(0))
    angle = s * t * u + s + turns * f(np.pi / 2)
    angle = np.where(x < 0, -angle, angle)
    angle = np.where(denominator == 0, f(np.pi / 2), angle)
    return np.where(numerator == 0, np.where(x < 0, f(np.pi), f(0)), angle)


def _sine_and_cosine(angle: Floats) -> tuple[Floats, Floats]:
    far = angle * f(1.27323954473516) >= 1
    j = np.where(far, f(2), f(0))
    w = angle - j * f(0.78515625) - j * f(2.4187564849853515625e-4) - j * f(3.77489497744594108e-8)
    z = w * w
    c = (f(2.443315711809948e-5) * z - f(1.388731625493765e-3)) * z + f(4.166664568298827e-2)
    c = c * z * z - z * f(0.5) + f(1)
    s = (f(-1.9515295891e-4) * z + f(8.3321608736e-3)) * z - f(1.6666654611e-1)
    s = s * z * w + w
    return np.where(far, c, s), np.where(far, -s, c)
