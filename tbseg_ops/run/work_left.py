"""What of a plan is done, what can be taken over or derived, and what must be computed, and why.

Told from records and sizes alone: no file is digested, nothing is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tbseg_ops.geometry import Box, Tile
from tbseg_ops.run import Inputs, Plan, RunFolder
from tbseg_ops.run.prediction import is_derivable
from tbseg_ops.run.records import Step
from tbseg_ops.run.state import How, how, merged_file, own_classes, recorded
from tbseg_ops.stored import Stored

FIRST = "nothing was computed before"


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
    old = _before(folder, before)
    ingest = []
    for slab in folder.plan.slabs:
        found, box = how(folder, folder.slab(slab)), folder.plan.slab_box(slab)
        ingest.append((found, box, _why_raw(folder, old, None, box)))
    split, classify = [], []
    why_classes = _why_classes(folder, old)
    for fate in survey(folder) if fates is None else fates:
        box = fate.tile.box
        why = None if fate.known else _why_raw(folder, old, fate.tile, box)
        split.append((fate.cut, box, why or "its file is not there any more"))
        classify.append((fate.classes, box, why or why_classes))
    lefts = _left("ingest", ingest), _left("split", split), _left("classify", classify)
    merged = lefts[2].here == lefts[2].total and (
        merged_file(folder, [own_classes(folder, tile) for tile in folder.plan.grid]) is not None
    )
    return WorkLeft(steps=lefts, merged=merged)


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
    sub_volume = folder.sub_volume(tile)
    known = next(recorded(folder, sub_volume), None)
    if known is None:
        return Fate(tile, "computed", "computed", False)
    piece = folder.classes(tile, known.record.content)
    cut, classes = how(folder, sub_volume), how(folder, piece)
    if classes == "computed":
        classes = "derived" if is_derivable(folder, piece) else classes
    elif cut == "computed":
        cut = classes
    return Fate(tile, cut, classes, True)


@dataclass(frozen=True)
class _Old:
    """A run to compare with, as it was planned."""

    plan: Plan
    inputs: Inputs | None


def _before(folder: RunFolder, before: Plan | None) -> _Old | None:
    """What this run was before, else the best of the earlier runs."""
    if before is not None:
        return _Old(before, folder.stored_inputs())
    plans = ((run, plan) for run in folder.earlier if (plan := run.stored_plan()) is not None)
    return next((_Old(plan, run.stored_inputs()) for run, plan in plans), None)


def _why_raw(folder: RunFolder, old: _Old | None, tile: Tile | None, box: Box) -> str:
    """Why the voxels of a slab or of a tile (with its halo, ``box``) are not those of before."""
    if old is None:
        return FIRST
    plan, inputs = folder.plan, folder.inputs
    z0, z1 = box.lo[0], box.hi[0]
    if old.plan.volume.shape[1:] != plan.volume.shape[1:] or (
        old.plan.volume.dtype != plan.volume.dtype
    ):
        return "the slices have another shape or dtype"
    if tile is not None and (
        old.plan.grid_model.core != plan.grid_model.core
        or old.plan.grid_model.halo != plan.grid_model.halo
    ):
        return "the tiles have another size or halo"
    if old.plan.volume.shape[0] < z1:
        return "slices were added behind the end"
    if old.inputs is None:
        return "the earlier list of inputs cannot be read"
    if old.inputs.fingerprints[z0:z1] != inputs.fingerprints[z0:z1]:
        return "slices were replaced, added or removed"
    if old.plan.volume.shape[0] != plan.volume.shape[0]:
        return "the volume ends elsewhere"
    if old.inputs.mask_fingerprints[z0:z1] != inputs.mask_fingerprints[z0:z1]:
        return "the mask was changed"
    if old.plan.spec.split != plan.spec.split:
        return "sub-volumes are stored in another way"
    return "it was not done, or its file is not there any more"


def _why_classes(folder: RunFolder, before: _Old | None) -> str:
    """Why a tile of the same voxels is classified again."""
    if before is None:
        return FIRST
    old, plan = before.plan, folder.plan
    if old.classifier.digest != plan.classifier.digest:
        return "the classifier was trained again"
    if (old.spec.engine, old.engine_version) != (plan.spec.engine, plan.engine_version):
        return "the engine is another one"
    if old.grid_model.chunk != plan.grid_model.chunk:
        return "the tiles have another size or halo"
    if _outputs(old) != _outputs(plan):
        return "the new outputs need what was not kept"
    return "it was not done, or its file is not there any more"


def _outputs(plan: Plan) -> tuple[object, ...]:
    spec = plan.spec
    return spec.output, plan.probability_labels, spec.probability_dtype
