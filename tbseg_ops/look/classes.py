"""The classes of a box of a volume, as a run of all of it has them there."""

import base64
import time
import zlib
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines import load_engine
from tbseg_ops.errors import UsageError
from tbseg_ops.geometry import Box
from tbseg_ops.look.subject import Subject
from tbseg_ops.view.paint import Range, range_of, stretched
from tbseg_ops.volume import open_mask, open_source

MOST_VOXELS = 128**3
MOST_SIDE = 1024
"""Of a box: with its halo, that is some hundred MB at the most."""


def box_of(value: Any) -> Box:
    """A box of ``{"lo": [z, y, x], "hi": [z, y, x]}``; UsageError if it is none, or too large."""
    try:
        lo, hi = (tuple(value[end]) for end in ("lo", "hi"))
        is_box = len(lo) == len(hi) == 3 and all(type(n) is int for n in (*lo, *hi))
        sides = [b - a for a, b in zip(lo, hi, strict=True)] if is_box else []
    except (TypeError, KeyError, ValueError):
        sides = []
    if not sides or min(sides) < 1:
        raise UsageError("this is no box", expected="three numbers each, lo < hi")
    if prod(sides) > MOST_VOXELS or max(sides) > MOST_SIDE:
        raise UsageError(
            "the box is too large for a preview",
            expected=f"at most {MOST_VOXELS:,} voxels and {MOST_SIDE} a side",
            found=f"{' x '.join(map(str, sides))} (z, y, x), {prod(sides):,} voxels",
            mend="choose a smaller box",
        )
    return Box(lo, hi)


def labels_of(subject: Subject, box: Box, threads: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    """Raw voxels (z, y, x, c) of a box and their labels (z, y, x), uint8, 0 outside of the mask.

    By the engine native, from the box and its halo: exact. InputError if volume or classifier are
    unusable; UsageError if the box does not lie in the volume, or there is no classifier.
    """
    if subject.classifier is None:
        raise UsageError("there is no classifier", mend="name one")
    passport = read_passport(subject.classifier)
    with open_source(subject.volume, subject) as source:
        shape = source.info.shape
        passport.check_volume(shape, source.info.channels)
        if not Box((0, 0, 0), shape).contains(box):
            raise UsageError(
                "the box does not lie in the volume", expected=f"within {shape}", found=box
            )
        engine = load_engine("native", passport, volume_shape=shape, threads=threads)
        around = box.grown(passport.halo_for(shape), shape)
        raw, core = source.window(around), box.relative_to(around.lo)
    labels = engine.predict_labels(raw, core)
    if subject.mask is not None:
        with open_mask(subject.mask, shape) as mask:
            labels = np.where(mask.window(box)[..., 0] != 0, labels, 0).astype(np.uint8)
    return raw[core.slices], labels


def classes(subject: Subject, box: Box, bounds: Range | None, threads: int) -> dict[str, Any]:
    """``labels_of`` as JSON: labels and grey values, uint8 in C order, zlib, base64.

    ``bounds``: the raw values that are black and white; by default those of the box.
    """
    start = time.perf_counter()
    raw, labels = labels_of(subject, box, threads)
    seconds = time.perf_counter() - start
    first = raw[..., 0]
    grey = stretched(first, bounds or range_of(first)).astype(np.uint8)
    counts = np.bincount(labels.ravel())
    return {
        "lo": box.lo,
        "hi": box.hi,
        "labels": _packed(labels),
        "grey": _packed(grey),
        "counts": counts.tolist(),
        "seconds": round(seconds, 2),
    }


def _packed(array: NDArray[np.uint8]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 1)).decode()
