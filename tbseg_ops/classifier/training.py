"""What is known of the data that a classifier was trained on. Nothing of it decides a result."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from tbseg_ops.classifier.forests import Forest
from tbseg_ops.classifier.gaussians import SMOOTHING


class TrainingData(BaseModel):
    """What the project says of its last training volume, and its trees of raw values.

    ``axes`` name those of ``shape``, in stored order. ``value_range``: that which ilastik displays.
    ``voxel_size`` and ``units``: (z, y, x). All None where the file is silent.
    ``thresholds``: per channel the least and greatest raw value at which any tree distinguishes
    anything, at whatever scale; None for a channel of which it knows derivatives only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    axes: str | None = None
    shape: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    voxel_size: tuple[float, float, float] | None = None
    units: tuple[str, str, str] | None = None
    thresholds: tuple[tuple[float, float] | None, ...] = ()


Thresholds = tuple[tuple[float, float] | None, ...]


def joined(one: Thresholds, other: Thresholds) -> Thresholds:
    """Per channel the range that holds both: those of two stages that see the same voxels."""
    pairs = ([r for r in both if r is not None] for both in zip(one, other, strict=True))
    return tuple((min(pair)[0], max(high for _, high in pair)) if pair else None for pair in pairs)


def raw_thresholds(
    columns: Sequence[tuple[str, int]], channels: int, forests: Sequence[Forest]
) -> Thresholds:
    """Of each channel the range of the trees' thresholds in columns that are smoothed raw values.

    ``columns``: feature id and channel of each column. A mean of raw values lies between them, so
    what lies beyond all thresholds does so at any scale.
    """
    of_column = np.array([c if feature == SMOOTHING else channels for feature, c in columns])
    low, high = np.full(channels + 1, np.inf), np.full(channels + 1, -np.inf)
    for forest in forests:
        channel = of_column[forest.column]
        np.minimum.at(low, channel, forest.threshold)
        np.maximum.at(high, channel, forest.threshold)
    ranges = zip(low[:channels].tolist(), high[:channels].tolist(), strict=True)
    return tuple((least, most) if least <= most else None for least, most in ranges)
