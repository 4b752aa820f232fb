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

    model_config = ConfigDict(frozen=True, extra="forbid")

    axes: str | None = None
    shape: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    voxel_size: tuple[float, float, float] | None = None
    units: tuple[str, str, str] | None = None
    thresholds: tuple[tuple[float, float] | None, ...] = ()


def raw_thresholds(
    columns: Sequence[tuple[str, int]], channels: int, forests: Sequence[Forest]
) -> tuple[tuple[float, float] | None, ...]:
    """Of each channel the range of the trees' thresholds in columns that are smoothed raw values.

    ``columns``: feature id and channel of each column. A mean of raw values lies between them, so
    what lies beyond all thresholds does so at any scale.
    """
    found: list[list[float]] = [[] for _ in range(channels)]
    for forest in forests:
        for column, (feature, channel) in enumerate(columns):
            if feature == SMOOTHING and np.any(mine := forest.column == column):
                threshold = forest.threshold[mine]
                found[channel] += [float(threshold.min()), float(threshold.max())]
    return tuple((min(values), max(values)) if values else None for values in found)
