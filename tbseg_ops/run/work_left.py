"""What of a plan is done, what can be taken over or derived, and what must be computed, and why.

Told from records and sizes alone: no file is digested, nothing is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tbseg_ops.geometry import Box, Tile
from tbseg_ops.run import Plan, Record, RunFolder
from tbseg_ops.run.differences import Basis, why_classes, why_raw
from tbseg_ops.run.finish import How
from tbseg_ops.run.keys import WHOLE, merge_key
from tbseg_ops.run.prediction import is_derivable
from tbseg_ops.run.records import Step
from tbseg_ops.run.takeover import Found, find, recorded
from tbseg_ops.stored import Stored


class StepLeft(Stored):
    """Pieces of one step by what becomes of them; ``reasons``: why pieces are computed.

    ``voxels``: of the pieces to compute, halo included.
    """

    step: Step
    total: int
    here: int
    taken: int
    derived: int
    computed: int
    voxels: int
    reasons: dict[str, int]

    @property
    def share_to_write(self) -> float:
        """Of the pieces, those that take new space: links take none."""
        return (self.computed + self.derived) / max(self.total, 1)


class WorkLeft(Stored):
    """What is left to do for a plan. ``merged``: the merged file is there, made of just these."""

    steps: tuple[StepLeft, ...]
    merged: bool

    def of(self, step: Step) -> StepLeft:
        return next(left for left in self.steps if left.step == step)


def work_left(
    folder: RunFolder, before: Plan | None = None, fates: Iterable["Fate"] | None = None
) -> WorkLeft:
    """What is left of the plan of ``folder`` (which need not be stored yet: ``RunFolder.under``).

    ``before``: the plan that this folder had before; it explains what its own pieces lack.
    ``fates``: those of ``survey``, where they are known already.
    """
    now, old = Basis.of(folder.plan, folder.inputs), None
    if before is not None:
        old = Basis.of(before, folder.stored_inputs())
    else:
        planned = ((run, plan) for run in folder.earlier if (plan := run.stored_plan()))
        old = next((Basis.of(plan, run.stored_inputs()) for run, plan in planned), None)
    ingest, split, classify = _Tally("ingest"), _Tally("split"), _Tally("classify")
    for slab in folder.plan.slabs:
        key = folder.plan.slab_key(folder.inputs, slab)
        box = Box((slab.z0, 0, 0), (slab.z1, *folder.plan.volume.shape[1:]))
        how = _how(folder, "ingest", slab.name, key)
        ingest.add(how, box, "" if how != "computed" else why_raw(old, now, box, False))
    classes_reason = why_classes(old, now)
    for fate in survey(folder) if fates is None else fates:
        box = fate.tile.box
        if fate.known:
            split.add(fate.cut, box, "its file is not there any more")
            classify.add(fate.classes, box, classes_reason)
        else:
            reason = why_raw(old, now, box, True)
            split.add(fate.cut, box, reason)
            classify.add(fate.classes, box, reason)
    lefts = tuple(tally.left() for tally in (ingest, split, classify))
    return WorkLeft(steps=lefts, merged=lefts[2].here == lefts[2].total and _is_merged(folder))


@dataclass(frozen=True)
class Fate:
    """What becomes of a tile's sub-volume (``cut``) and of its ``classes``.

    ``known``: whether the content of its sub-volume is.
    """

    tile: Tile
    cut: How
    classes: How
    known: bool


def survey(folder: RunFolder) -> Iterator[Fate]:
    """Of each tile of the plan of ``folder``, from the records of this run and of earlier ones."""
    return (_fate(folder, tile) for tile in folder.plan.grid)


def _is_merged(folder: RunFolder) -> bool:
    """Whether the merged file is there, if all tiles are."""
    own = folder.records("classify")
    records = [record for tile in folder.plan.grid if (record := own.peek(tile.name)) is not None]
    return _how(folder, "merge", WHOLE, merge_key(folder.plan, records)) == "here"


class _Tally:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.hows: Counter[How] = Counter()
        self.reasons: Counter[str] = Counter()
        self.voxels = 0

    def add(self, how: How, box: Box, reason: str) -> None:
        self.hows[how] += 1
        if how == "computed":
            self.voxels += box.size
            self.reasons[reason] += 1

    def left(self) -> StepLeft:
        return StepLeft(
            step=self.step,
            total=self.hows.total(),
            here=self.hows["here"],
            taken=self.hows["taken"],
            derived=self.hows["derived"],
            computed=self.hows["computed"],
            voxels=self.voxels,
            reasons=dict(self.reasons.most_common()),
        )


def _fate(folder: RunFolder, tile: Tile) -> Fate:
    """A sub-volume is not cut where the classes are there."""
    key = folder.plan.split_key(folder.inputs, tile)
    content = _content(folder, tile, key)
    if content is None:
        return Fate(tile, "computed", "computed", False)
    cut = _how(folder, "split", tile.name, key)
    classes = _how(folder, "classify", tile.name, folder.plan.classify_key(content, tile))
    if classes == "computed":
        predicted = folder.plan.predicted_key(content, tile)
        classes = "derived" if is_derivable(folder, tile, predicted) else classes
    if cut == "computed" and classes in ("here", "taken"):
        cut = classes
    return Fate(tile, cut, classes, True)


def _how(folder: RunFolder, step: Step, name: str, key: str) -> How:
    """Whether a piece is here, can be taken over, or must be computed."""
    own = folder.records(step).peek(name)
    if own is not None and own.key == key and Found(folder, own).is_there:
        return "here"
    return "computed" if find(folder, step, name, key) is None else "taken"


def _content(folder: RunFolder, tile: Tile, key: str) -> str | None:
    own: Record | None = folder.records("split").peek(tile.name)
    if own is not None and own.key == key:
        return own.content
    known = next(recorded(folder, "split", tile.name, key), None)
    return None if known is None else known.record.content
