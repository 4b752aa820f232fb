"""What of a plan is done, what can be taken over or derived, and what must be computed, and why.

Told from records and sizes alone: no file is digested, nothing is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tbseg_ops.geometry import Box, Tile
from tbseg_ops.run import Plan, RunFolder
from tbseg_ops.run.differences import Basis, why_classes, why_raw
from tbseg_ops.run.done import Found, How, how, how_of, merged_file, recorded
from tbseg_ops.run.prediction import is_derivable
from tbseg_ops.run.records import NOT_READ, Step
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
    ingest = []
    for slab in folder.plan.slabs:
        found, box = how(folder, folder.slab(slab)), folder.plan.slab_box(slab)
        ingest.append((found, box, why_raw(old, now, box, False)))
    split, classify, there = [], [], []
    classes_reason = why_classes(old, now)
    for fate in survey(folder) if fates is None else fates:
        box = fate.tile.box
        why = None if fate.known else why_raw(old, now, box, True)
        split.append((fate.cut, box, why or "its file is not there any more"))
        classify.append((fate.classes, box, why or classes_reason))
        there.append(fate.own)
    lefts = _left("ingest", ingest), _left("split", split), _left("classify", classify)
    merged = lefts[2].here == lefts[2].total and (merged_file(folder, there) is not None)
    return WorkLeft(steps=lefts, merged=merged)


@dataclass(frozen=True)
class Fate:
    """What becomes of a tile's sub-volume (``cut``) and of its ``classes``.

    ``known``: whether the content of its sub-volume is. ``own``: its class file in this run, if it
    is recorded here.
    """

    tile: Tile
    cut: How
    classes: How
    known: bool
    own: Found | None = None


def survey(folder: RunFolder) -> Iterator[Fate]:
    """Of each tile of the plan of ``folder``, from the records of this run and of earlier ones."""
    return (_fate(folder, tile) for tile in folder.plan.grid)


def _left(step: Step, pieces: list[tuple[How, Box, str]]) -> StepLeft:
    """``pieces``: what becomes of each, its voxels, and why it would be computed."""
    hows = Counter(found for found, _, _ in pieces)
    computed = [(box, reason) for found, box, reason in pieces if found == "computed"]
    return StepLeft(
        step=step,
        total=len(pieces),
        here=hows["here"],
        taken=hows["taken"],
        derived=hows["derived"],
        computed=hows["computed"],
        voxels=sum(box.size for box, _ in computed),
        reasons=dict(Counter(reason for _, reason in computed).most_common()),
    )


def _fate(folder: RunFolder, tile: Tile) -> Fate:
    """A sub-volume is not cut where the classes are there."""
    cuts = list(recorded(folder, folder.sub_volume(tile)))
    cut = how_of(folder, cuts)
    if not cuts or cuts[0].record.content == NOT_READ:
        return Fate(tile, cut, "computed", False)
    piece = folder.classes(tile, cuts[0].record.content)
    founds = list(recorded(folder, piece))
    own, classes = next((f for f in founds if f.run is folder), None), how_of(folder, founds)
    if classes == "computed":
        classes = "derived" if is_derivable(folder, piece) else classes
    elif cut == "computed":
        cut = classes
    return Fate(tile, cut, classes, True, own)
