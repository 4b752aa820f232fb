"""audit: is this volume whole, and does this classifier fit it? Writes nothing.

Headers are read, and a few slices.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.run.fit import input_warnings
from tbseg_ops.selection import WHOLE, Selection
from tbseg_ops.stored import Stored
from tbseg_ops.volume import Source, VolumeInfo, open_source
from tbseg_ops.volume.sample import sample


class Audit(Stored):
    """What was found; ``first`` and ``last`` name the slices at both ends in z order.

    ``second``: the slice after the first, if there is one. ``values``: the least and the greatest
    of the sampled voxels; None if all are NaN. ``warnings``: of the volume; ``unfit``: why it may
    not fit the classifier.
    """

    volume: VolumeInfo
    first: str
    last: str
    second: str | None = None
    values: tuple[float, float] | None = None
    warnings: tuple[str, ...]
    classifier: Passport | None
    unfit: tuple[str, ...] = ()


def _range(voxels: NDArray[Any]) -> tuple[float, float] | None:
    """The least and the greatest; infinite ones count, NaN does not."""
    numbers = voxels[~np.isnan(voxels)] if voxels.dtype.kind == "f" else voxels
    return (float(numbers.min()), float(numbers.max())) if numbers.size else None


def audit(*, volume: str, classifier: str | None = None, selection: Selection = WHOLE) -> Audit:
    """Check headers, order and completeness of ``volume`` and its fit to ``classifier``.

    InputError names the slice or the part of the classifier that is wrong.
    """
    passport = read_passport(classifier) if classifier is not None else None
    with open_source(volume, selection) as source:
        if passport is not None:
            passport.check_volume(source.info.shape, source.info.channels)
        return audited(source, passport, sample(source))


def audited(source: Source, passport: Passport | None, voxels: NDArray[Any]) -> Audit:
    """What there is to say of an open volume that is one for the classifier.

    ``voxels`` (n, channels): some of it, as ``volume.sample`` takes them.
    """
    info = source.info
    return Audit(
        volume=info,
        first=source.slices[0],
        last=source.slices[-1],
        second=source.slices[1] if len(source.slices) > 1 else None,
        values=_range(voxels),
        warnings=(*source.warnings, *(passport.notes_for(info.shape) if passport else ())),
        classifier=passport,
        unfit=input_warnings(passport, info, voxels) if passport else (),
    )
