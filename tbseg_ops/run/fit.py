"""Does a volume fit its classifier? What can be seen of it before and after classification.

A result can be complete and exact and still mean nothing: trees that were trained on an 8-bit view
put every voxel of the 16-bit original on the same side of all thresholds. Each finding is one
sentence for people; none stops a run, and none is part of any key. See docs/fit.md.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import Passport
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Record
from tbseg_ops.volume import VolumeInfo
from tbseg_ops.volume.voxel_size import in_micrometres

# A well separated background lies below all thresholds, and the specimen may be sparse.
_BELOW, _ABOVE = 0.9999, 0.99
_FAR = 2  # times the greatest threshold, if half of the voxels are above that
_PADDING = 0.1  # share of a volume's least value above which it is no signal
_VOXEL_FACTOR = 1.5
_ONE_CLASS = 0.999
_AS_IN_TRAINING = "give the volume as it was in training, or train on this one as it is"


def input_warnings(passport: Passport, info: VolumeInfo, values: NDArray[Any]) -> tuple[str, ...]:
    """What of a volume does not look like the classifier's training.

    ``values`` (n, channels): some of its voxels, as ``volume.sample`` takes them.
    """
    training = passport.training
    found = [
        _values(info, values[:, c], thresholds, f"channel {c + 1}: " if info.channels > 1 else "")
        for c, thresholds in enumerate(training.thresholds)
        if thresholds is not None
    ]
    return tuple(filter(None, [*found, _range(passport, values), _voxel_size(passport, info)]))


def _values(
    info: VolumeInfo, values: NDArray[Any], thresholds: tuple[float, float], where: str
) -> str | None:
    """Whether the trees can tell the raw values of a channel from each other."""
    low, high = thresholds
    trees = f"the trees ask for raw values between {_number(low)} and {_number(high)}"
    values = values[np.isfinite(values)]
    if not len(values):
        return f"{where}no voxel that was looked at is a finite number; check the volume"
    if values.min() == values.max():
        return (
            f"{where}all voxels that were looked at are {_number(values[0])}, and {trees};"
            " check the volume"
        )
    if info.dtype == "uint8" and high > 256:
        return (
            f"{where}the volume is of 8 bit, and {trees}: they were trained on more than 8 bit;"
            f" {_AS_IN_TRAINING}"
        )
    values = _without_padding(values)
    above, below = float(np.mean(values > high)), float(np.mean(values < low))
    middle, greatest = float(np.median(values)), float(values.max())
    if below >= _BELOW:
        side, share = "below", below
        reason = _scaled("this volume was", greatest, low)
    elif above >= _ABOVE or middle > _FAR * high > 0:
        side, share = "above", above
        reason = _scaled("it was trained on data", high, greatest)
    else:
        return None
    return (
        f"{where}{100 * share:.1f} % of the voxels are {side} all of the classifier's thresholds:"
        f" {trees}, the median of the volume is {_number(middle)}{reason}; {_AS_IN_TRAINING}"
    )


def _scaled(what: str, most: float, other: float) -> str:
    """What has happened to data that reach ``most``, if others of their kind reach ``other``."""
    if most <= 1 < other:
        return f", as if {what} scaled to 0..1"
    return f", as if {what} scaled to 8 bit" if most <= 256 < other else ""


def _without_padding(values: NDArray[Any]) -> NDArray[Any]:
    """Without the least value, if so many have it that it lies outside of the specimen."""
    rest = values[values != values.min()]
    return rest if len(rest) < (1 - _PADDING) * len(values) else values


def _range(passport: Passport, values: NDArray[Any]) -> str | None:
    """Whether the voxels go far beyond the range that the project says its data have."""
    stored = passport.training.value_range
    if stored is None or not len(finite := values[np.isfinite(values)]):
        return None
    if np.mean(finite > stored[1]) <= 0.5:
        return None
    low, high = map(_number, stored)
    return (
        f"the data of the training go from {low} to {high} by the project, and half of the voxels"
        f" are above {_number(np.median(finite))}; {_AS_IN_TRAINING}"
    )


def _voxel_size(passport: Passport, info: VolumeInfo) -> str | None:
    """Whether features look at another scale of things; only where both sizes are known."""
    then, units = passport.training.voxel_size, passport.training.units
    if then is not None and units is not None:
        then = in_micrometres(then, units).size
    if then is None or info.voxel_size is None or info.unit != ("um" if units else None):
        return None
    factors = [now / before for now, before in zip(info.voxel_size, then, strict=True)]
    if all(1 / _VOXEL_FACTOR <= factor <= _VOXEL_FACTOR for factor in factors):
        return None
    return (
        f"voxels are {_by(info.voxel_size, info.unit)} (z, y, x), in training they were"
        f" {_by(then, info.unit)}: features see things {_by([1 / f for f in factors])} times as"
        " large; resample the volume, or train on this voxel size"
    )


def class_warnings(passport: Passport, counts: Sequence[int], tiles: str = "") -> tuple[str, ...]:
    """Whether a result is one class, or lacks one. ``counts``: voxels of each class.

    ``tiles``: which ones, where it is not the whole result; a class may well be missing there.
    """
    total = sum(counts)
    if len(passport.known_labels) < 2 or not total:
        return ()
    where, look = "", "look at the pictures of the report"
    if tiles:
        where, look = f" of {tiles}", "look at these tiles before all others are computed"
    label, most = max(zip(passport.labels, counts, strict=True), key=lambda pair: pair[1])
    if most > _ONE_CLASS * total:
        share = f"{100 * most / total:.2f} % of the voxels{where}"
        return (f"{share} are {label!r}, one of {len(passport.known_labels)} classes; {look}",)
    empty = [passport.labels[i - 1] for i in passport.known_labels if not counts[i - 1]]
    if tiles or not empty:
        return ()
    return (f"no voxel is {', '.join(map(repr, empty))}, which the classifier knows; {look}",)


def run_warnings(folder: RunFolder, classified: Iterable[Record]) -> tuple[str, ...]:
    """All that is known of a run so far; ``classified``: the records of tiles that are done."""
    plan, records = folder.plan, list(classified)
    if not records:
        return plan.warnings
    counts = [sum(n) for n in zip(*(r.counts for r in records), strict=True)]
    part = "" if len(records) == len(plan.grid) else f"the {len(records)} tiles done so far"
    return (*plan.warnings, *class_warnings(plan.classifier, counts, part))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _by(numbers: Sequence[float], unit: str | None = None) -> str:
    return " x ".join(f"{n:.3g}" for n in numbers) + (f" {unit}" if unit else "")
