"""Voxels as pictures: grey values between two bounds, labels in the classifier's colours, PNG."""

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import Passport

Color = tuple[int, int, int]
Range = tuple[float, float]

_GREY: Color = (128, 128, 128)


def colors_of(passport: Passport) -> list[Color]:
    """The classifier's own colour for each class, grey where it has none."""
    stored = passport.colors
    return [stored[i] if i < len(stored) else _GREY for i in range(len(passport.labels))]


def hexadecimal(color: Color) -> str:
    """As style sheets and viewers write it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def range_of(raw: NDArray[np.generic]) -> Range:
    """The 0.5th and the 99.5th percentile of the finite voxels; 0 and 1 if there are none."""
    values = raw.astype(np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (0.5, 99.5))
    return float(low), float(high)


def stretched(raw: NDArray[np.generic], bounds: Range) -> NDArray[np.float32]:
    """Grey values 0..255 between two bounds."""
    low, high = bounds
    values: NDArray[np.float32] = np.nan_to_num(raw.astype(np.float32))
    with np.errstate(over="ignore"):  # infinite ones are the largest there are by now
        scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return scaled.clip(0, 255).astype(np.float32)


def png(image: NDArray[np.uint8]) -> bytes:
    """PNG of grey (y, x), RGB (y, x, 3) or RGBA (y, x, 4) values."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))


def colored(labels: NDArray[np.generic], colors: list[Color]) -> NDArray[np.uint8]:
    """RGBA (y, x, 4) of labels (y, x): label n in the nth colour, 0 transparent."""
    palette: NDArray[np.uint8] = np.array(
        [(0, 0, 0, 0), *((*color, 255) for color in colors)], np.uint8
    )
    return palette[np.minimum(labels.astype(np.int64), len(colors))]
