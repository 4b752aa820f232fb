"""What there is to see of a volume and a classifier before a run: audit, histogram, pictures."""

import base64
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.engines import check_engine
from tbseg_ops.errors import InputError, TbsegError
from tbseg_ops.geometry import Box
from tbseg_ops.look.classes import MOST_SIDE, MOST_VOXELS
from tbseg_ops.look.pictures import Afar, from_afar, image
from tbseg_ops.look.subject import Subject
from tbseg_ops.steps.audit import audited
from tbseg_ops.view.paint import Range, colors_of, hexadecimal, range_of
from tbseg_ops.volume import Source, open_mask, open_source
from tbseg_ops.volume.sample import sample

T = TypeVar("T")

_BINS = 64
_MOST_CHANNELS = 4  # in the histogram
_PROPOSED = (32, 128, 128)  # z, y, x: a second of work
_PROPOSED_FLAT = (1, 512, 512)


def overview(subject: Subject) -> dict[str, Any]:
    """All of it as JSON. What is refused of the one is among ``refusals``; the other is there."""
    refusals: list[TbsegError] = []

    def tried(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except TbsegError as error:
            refusals.append(error)
            return None

    found: dict[str, Any] = {"volume": None, "classifier": None, "preview": None}
    passport = (
        tried(lambda: read_passport(classifier)) if (classifier := subject.classifier) else None
    )
    with ExitStack() as stack:
        source = tried(lambda: stack.enter_context(open_source(subject.volume, subject)))
        if passport is not None:
            found["classifier"] = _classifier(passport)
        if source is not None:
            fits = passport is not None and tried(lambda: _fitting(subject, passport, source))
            told = tried(lambda: _volume(source, passport if fits else None))
            found |= told or {}
            if fits and told:
                found["preview"] = _proposal(source, passport, subject)
    return {**found, "refusals": [_sentence(error) for error in refusals]}


def _fitting(subject: Subject, passport: Passport | None, source: Source) -> bool:
    """Whether a run could begin: what ``plan`` would refuse now is an error."""
    assert passport is not None
    passport.check_volume(source.info.shape, source.info.channels)
    if subject.mask is not None:
        open_mask(subject.mask, source.info.shape).close()
    return True


def _volume(source: Source, passport: Passport | None) -> dict[str, Any]:
    voxels, afar = sample(source), from_afar(source)
    audit = audited(source, passport, voxels)
    bounds = range_of(afar.voxels)
    values = audit.values if audit.values and np.isfinite(audit.values).all() else None
    return {
        **audit.model_dump(mode="json", exclude={"classifier", "values"}),
        "values": values,  # JSON has no word for infinity
        "histogram": _histogram(voxels, passport),
        "bounds": bounds,
        "pictures": _pictures(afar, bounds),
    }


def _classifier(passport: Passport) -> dict[str, Any]:
    classes = [
        {
            "label": label,
            "color": hexadecimal(color),
            "known": number in passport.known_labels,
        }
        for number, (label, color) in enumerate(
            zip(passport.labels, colors_of(passport), strict=True), start=1
        )
    ]
    return {
        "path": passport.path,
        "ilastik": passport.ilastik_version,
        "channels": passport.channels,
        "classes": classes,
        "features": len(passport.features),
        "columns": passport.columns,
        "scales": sorted({feature.scale for feature in passport.features}),
        "trees": passport.trees,
        "stages": 1 if passport.first is None else 2,
        "notes": passport.notes,
    }


def _proposal(source: Source, passport: Passport | None, subject: Subject) -> dict[str, Any]:
    """A box to begin with, and the bounds of others; or why no box can be computed here."""
    assert passport is not None
    shape = source.info.shape
    try:
        check_engine("native", passport)
    except InputError as error:
        return {"refusal": _sentence(error)}
    box = Box.middle(shape, _PROPOSED_FLAT if shape[0] == 1 else _PROPOSED)
    halo = passport.halo_for(shape)
    return {"lo": box.lo, "hi": box.hi, "halo": halo, "most": MOST_VOXELS, "side": MOST_SIDE}


def _histogram(voxels: NDArray[Any], passport: Passport | None) -> dict[str, Any]:
    """Counts of the sampled values of each channel between the least and the greatest of all."""
    finite = voxels[np.isfinite(voxels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    ends = (low, high if high > low else low + 1)
    channels = [
        np.histogram(column[np.isfinite(column)], _BINS, ends)[0].tolist()
        for column in voxels.T[:_MOST_CHANNELS]
    ]
    thresholds = passport.training.thresholds[:_MOST_CHANNELS] if passport else ()
    return {"ends": ends, "channels": channels, "thresholds": thresholds}


def _pictures(afar: Afar, bounds: Range) -> dict[str, Any]:
    """By axis: where in the volume, and a picture as the address of its own bytes."""
    zs, ys, xs = afar.axes
    _, y, x = afar.middles
    return {
        "z": [
            {"at": int(at), "image": _address(plane, bounds)}
            for at, plane in zip(zs, afar.voxels, strict=True)
        ],
        "y": [{"at": int(ys[y]), "image": _address(afar.voxels[:, y], bounds)}],
        "x": [{"at": int(xs[x]), "image": _address(afar.voxels[:, :, x], bounds)}],
    }


def _address(plane: NDArray[Any], bounds: Range) -> str:
    kind, data = image(plane, bounds)
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _sentence(error: TbsegError) -> dict[str, str]:
    return {name: str(getattr(error, name)) for name in ("what", *_TOLD) if getattr(error, name)}


_TOLD = ("file", "expected", "found", "mend")
