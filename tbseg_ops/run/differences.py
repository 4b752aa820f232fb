"""What differs between what was planned and what is there now, in sentences for people.

Of a whole dataset (``changed``), and of single pieces of work (``why_raw``, ``why_classes``).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from tbseg_ops.classifier import Passport
from tbseg_ops.geometry import Box
from tbseg_ops.options import RunSpec, decisive
from tbseg_ops.run.plan import GridModel, Inputs, Plan
from tbseg_ops.volume import VolumeInfo

_OTHER_TILES = "the tiles have another size or halo"

_NAMED = 5  # slices in a sentence
_DIGITS = 12  # of a digest there

Slices = Sequence[tuple[str, str]]  # name and fingerprint, in z order


@dataclass(frozen=True)
class Basis:
    """All that decides the result of a run: as it was planned, or as it is now.

    ``inputs``: without slices if they cannot be read. ``grid``: None if it is not planned.
    """

    spec: RunSpec
    volume: VolumeInfo
    classifier: Passport
    engine_version: str
    inputs: Inputs
    grid: GridModel | None = None
    refers: bool = False

    @classmethod
    def of(cls, plan: Plan, inputs: Inputs | None) -> Self:
        inputs = inputs or Inputs(slices=(), fingerprints=())
        spec, passport, grid = plan.spec, plan.classifier, plan.grid_model
        version, refers = plan.engine_version, plan.refers
        return cls(spec, plan.volume, passport, version, inputs, grid, refers)

    @property
    def classes(self) -> object:
        return self.classifier.labels, self.classifier.colors

    @property
    def maps(self) -> object:
        """The probability maps that are written, and their type."""
        indices = self.spec.wanted_probabilities(self.classifier.labels)
        return indices, self.spec.probability_dtype


# A sentence, and what differs if it is true.
Parts = Mapping[str, Callable[[Basis], object]]


def changed(old: Basis, new: Basis) -> list[str]:
    """Why a run over ``new`` would give something else than the one over ``old``, if it would."""
    if old.spec.box != new.spec.box:  # then other slices were read
        old = replace(old, inputs=new.inputs)
    reasons = slice_changes(_slices(old.inputs), _slices(new.inputs))
    before, after = _mask_slices(old.inputs), _mask_slices(new.inputs)
    if bool(before) != bool(after):
        reasons.append("there is a mask now" if after else "there is no mask any more")
    else:
        reasons += slice_changes(before, after, of=" of the mask")
    if old.classifier.digest != new.classifier.digest:
        reasons.append(
            f"the classifier was trained again: its digest is {new.classifier.digest[:_DIGITS]},"
            f" it was {old.classifier.digest[:_DIGITS]}"
        )
    elif old.classes != new.classes:
        reasons.append("names or colours of the classes have changed")
    then, now = _facts(old), _facts(new)
    return reasons + [
        f"the {name} has changed: from {_text(then[name])} to {_text(now[name])}"
        for name in then
        if name in now and then[name] != now[name]
    ]


def _facts(basis: Basis) -> dict[str, object]:
    """What counts beside slices and classifier, by its name in a sentence."""
    form = basis.volume.model_dump(exclude={"shape", "kind"})
    form = {"size of a slice": basis.volume.shape[1:], **form}
    return {
        **{f"{name.replace('_', ' ')} of the volume": value for name, value in form.items()},
        **{f"parameter {name}": getattr(basis.spec, name) for name in decisive(type(basis.spec))},
        f"version of engine {basis.spec.engine}": basis.engine_version,
    }


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _slices(inputs: Inputs) -> Slices:
    return list(zip(inputs.slices, inputs.fingerprints, strict=True))


def _mask_slices(inputs: Inputs) -> Slices:
    return list(zip(inputs.mask_slices, inputs.mask_fingerprints, strict=True))


def slice_changes(before: Slices, after: Slices, of: str = "") -> list[str]:
    """What happened to the slices, by name and content; nothing if each place holds the same.

    What is equal at both ends is left out, so that slices put in front, behind or in between are
    told from replaced ones although all others may have other names now.
    """
    if [f for _, f in before] == [f for _, f in after]:
        return []
    first = _begin_alike(before, after)
    last = _begin_alike(before[first:][::-1], after[first:][::-1])
    old, new = before[first : len(before) - last], after[first : len(after) - last]
    then, now = dict(old), dict(new)
    gone = [(n, f) for n, f in old if n not in now]
    come = [(n, f) for n, f in new if n not in then]
    renamed = Counter(f for _, f in gone) & Counter(f for _, f in come)
    found = {
        "replaced": [n for n, f in new if n in then and then[n] != f],
        "added": _without(come, renamed),
        "removed": _without(gone, renamed),
    }
    return [_sentence(what, names, of) for what, names in found.items() if names] or [
        f"the order of the slices{of} has changed"
    ]


def why_raw(old: Basis | None, new: Basis, box: Box, is_tile: bool) -> str:
    """Why the voxels of a slab or of a tile (with its halo, ``box``) are not those of before."""
    z0, z1 = (z + new.spec.part(new.volume.shape).lo[0] for z in (box.lo[0], box.hi[0]))
    parts: Parts = {
        "the slices have another shape or dtype": lambda b: (*b.volume.shape[1:], b.volume.dtype),
        "another part of the volume is wanted": lambda b: b.spec.box,
        _OTHER_TILES: lambda b: is_tile and b.grid and (b.grid.core, b.grid.halo),
        "slices were added behind the end": lambda b: b.volume.shape[0] >= z1,
        "the earlier list of inputs cannot be read": lambda b: bool(b.inputs.slices),
        "slices were replaced, added or removed": lambda b: b.inputs.fingerprints[z0:z1],
        "the volume ends elsewhere": lambda b: b.volume.shape[0],
        "the mask was changed": lambda b: b.inputs.mask_fingerprints[z0:z1],
        "the volume is stored in another way": lambda b: not is_tile and b.refers,
        "sub-volumes are stored in another way": lambda b: is_tile and b.spec.split,
    }
    return _first_difference(old, new, parts)


def why_classes(old: Basis | None, new: Basis) -> str:
    """Why a tile of the same voxels is classified again."""
    parts: Parts = {
        "the classifier was trained again": lambda b: b.classifier.digest,
        "the engine is another one": lambda b: (b.spec.engine, b.engine_version),
        _OTHER_TILES: lambda b: b.grid and b.grid.chunk,
        "the new outputs need what was not kept": lambda b: (b.spec.output, b.maps),
    }
    return _first_difference(old, new, parts)


def _first_difference(old: Basis | None, new: Basis, parts: Parts) -> str:
    """The first sentence whose part of the two is not the same."""
    if old is None:
        return "nothing was computed before"
    differing = (sentence for sentence, part in parts.items() if part(old) != part(new))
    return next(differing, "it was not done, or its file is not there any more")


def _begin_alike(one: Slices, other: Slices) -> int:
    """So many slices at the beginning of both have the same content."""
    pairs = enumerate(zip(one, other, strict=False))
    least = min(len(one), len(other))
    return next((n for n, (a, b) in pairs if a[1] != b[1]), least)


def _without(slices: Slices, renamed: Counter[str]) -> list[str]:
    left, names = renamed.copy(), []
    for name, fingerprint in slices:
        if left[fingerprint] > 0:
            left[fingerprint] -= 1
        else:
            names.append(name)
    return names


def _sentence(what: str, names: list[str], of: str) -> str:
    n = len(names)
    subject = f"1 slice{of} was" if n == 1 else f"{n} slices{of} were"
    more = f" and {n - _NAMED} more" if n > _NAMED else ""
    return f"{subject} {what}: {', '.join(names[:_NAMED])}{more}"
