"""changes: does a dataset need a run, and why? Told by what the slices hold, never by their dates.

Every slice is read once, as plan does, and compared with the newest run.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.datasets.choice import run_state
from tbseg_ops.datasets.dataset import Dataset
from tbseg_ops.datasets.registry import get
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.engines import check_engine
from tbseg_ops.errors import ConfigError, IntegrityError, printable
from tbseg_ops.run import Inputs, Plan, RunFolder, RunSpec
from tbseg_ops.run.inputs import read_inputs
from tbseg_ops.run.result import Progress, silent
from tbseg_ops.spec import decisive
from tbseg_ops.stored import Stored
from tbseg_ops.volume import VolumeInfo, open_source

_NAMED = 5  # slices in a sentence
_DIGITS = 12  # of a digest there

Slices = Sequence[tuple[str, str]]  # name and fingerprint, in z order


class Changes(Stored):
    """Whether a dataset needs a run; ``reasons`` are sentences. ``run``: the newest run's folder.

    Where no run is needed the only reason is "unchanged".
    """

    dataset: str
    needed: bool
    reasons: tuple[str, ...]
    run: str | None


def changes(*, name: str, progress: Progress = silent) -> Changes:
    """Compare the dataset ``name`` as it is now with its newest run.

    InputError if the volume, the mask or the classifier cannot be used as they are now: as plan.
    ConfigError if the dataset or the engine is wrong.
    """
    dataset = get(name)
    newest = Runs(Path(dataset.runs), name).newest()
    now = _Now(dataset, progress)
    reasons = ["first run"] if newest is None else _reasons(newest, now)
    return Changes(
        dataset=name,
        needed=bool(reasons),
        reasons=tuple(map(printable, reasons)) or ("unchanged",),
        run=None if newest is None else str(newest),
    )


class _Now:
    """A dataset as it is now: spec, classifier, engine, and every slice by its fingerprint."""

    def __init__(self, dataset: Dataset, progress: Progress) -> None:
        self.spec: RunSpec = dataset.spec
        self.passport: Passport = read_passport(self.spec.classifier)
        with open_source(self.spec.volume) as source:
            self.info: VolumeInfo = source.info
            self.passport.check_volume(self.info.shape, self.info.channels)
            self.engine_version: str = check_engine(self.spec.engine, self.passport)
            self.inputs: Inputs = read_inputs(source, self.spec.mask, progress)


def _reasons(newest: Path, now: _Now) -> list[str]:
    state, folder = run_state(newest), RunFolder(newest)
    found = [f"run {newest.name} is incomplete: {state.incomplete}"] if state.incomplete else []
    if not state.planned:
        return found
    try:
        plan, inputs = folder.plan, folder.inputs
    except (ConfigError, IntegrityError):  # planned anew at this moment
        return found
    return [
        *found,
        *_of_slices(inputs, now.inputs),
        *_of_mask(inputs, now.inputs),
        *_of_volume(plan.volume, now.info),
        *_of_classifier(plan.classifier, now.passport),
        *_of_spec(plan.spec, now.spec),
        *_of_engine(plan, now),
    ]


def _of_slices(old: Inputs, new: Inputs) -> list[str]:
    before = list(zip(old.slices, old.fingerprints, strict=True))
    after = list(zip(new.slices, new.fingerprints, strict=True))
    return slice_changes(before, after)


def _of_mask(old: Inputs, new: Inputs) -> list[str]:
    before = list(zip(old.mask_slices, old.mask_fingerprints, strict=True))
    after = list(zip(new.mask_slices, new.mask_fingerprints, strict=True))
    if not before and after:
        return ["there is a mask now"]
    if before and not after:
        return ["there is no mask any more"]
    return slice_changes(before, after, of=" of the mask")


def slice_changes(before: Slices, after: Slices, of: str = "") -> list[str]:
    """What happened to the slices, by name and content; nothing if each place holds the same.

    What is equal at both ends is left out, so that slices put in front, behind or in between are
    told from replaced ones although all others may have other names now.
    """
    if [f for _, f in before] == [f for _, f in after]:
        return []
    old, new = _differing(before, after)
    then, now = dict(old), dict(new)
    replaced = [n for n, f in new if n in then and then[n] != f]
    gone = [(n, f) for n, f in old if n not in now]
    come = [(n, f) for n, f in new if n not in then]
    renamed = Counter(f for _, f in gone) & Counter(f for _, f in come)
    removed = _without(gone, renamed)
    added = _without(come, renamed)
    told = [("replaced", replaced), ("added", added), ("removed", removed)]
    found = [_sentence(what, names, of) for what, names in told if names]
    return found or [f"the order of the slices{of} has changed"]


def _differing(before: Slices, after: Slices) -> tuple[Slices, Slices]:
    """Both without what they have in common, by content, at their beginnings and ends."""
    most = min(len(before), len(after))
    first = 0
    while first < most and before[first][1] == after[first][1]:
        first += 1
    last = 0
    while last < most - first and before[-1 - last][1] == after[-1 - last][1]:
        last += 1
    return before[first : len(before) - last], after[first : len(after) - last]


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


def _of_volume(old: VolumeInfo, new: VolumeInfo) -> list[str]:
    """The form of the volume; its number of slices is told by them."""
    then = {"size of a slice": old.shape[1:], **old.model_dump(exclude={"shape", "kind"})}
    now = {"size of a slice": new.shape[1:], **new.model_dump(exclude={"shape", "kind"})}
    return [
        f"the {name.replace('_', ' ')} of the volume has changed: from {then[name]} to {now[name]}"
        for name in then
        if then[name] != now[name]
    ]


def _of_classifier(old: Passport, new: Passport) -> list[str]:
    if old.digest != new.digest:
        then, now = old.digest[:_DIGITS], new.digest[:_DIGITS]
        return [f"the classifier was trained again: its digest is {now}, it was {then}"]
    if (old.labels, old.colors) != (new.labels, new.colors):
        return ["names or colours of the classes have changed"]
    return []


def _of_spec(old: RunSpec, new: RunSpec) -> list[str]:
    then, now = old.model_dump(), new.model_dump()
    return [
        f"the parameter {name} has changed: from {_text(then[name])} to {_text(now[name])}"
        for name in decisive(type(new))
        if then[name] != now[name]
    ]


def _of_engine(plan: Plan, now: _Now) -> list[str]:
    if plan.spec.engine != now.spec.engine or plan.engine_version == now.engine_version:
        return []
    return [
        f"the version of engine {now.spec.engine} has changed:"
        f" from {plan.engine_version} to {now.engine_version}"
    ]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
