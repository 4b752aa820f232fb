"""prove: random boxes of a finished result, each predicted again without tiles by another engine.

Not a step of the pipeline: it may be done at any time, on any machine that has the run folder and
the classifier.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines import Engine, bit_stable, load_engine
from tbseg_ops.errors import ConfigError, InputError, IntegrityError
from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened, stamped
from tbseg_ops.options import EngineName
from tbseg_ops.run import Alone, Plan, RunFolder, Team
from tbseg_ops.run.boxes import (
    UNSTABLE_SHARE,
    box_shares,
    differences,
    drawn,
    tiles_of,
)
from tbseg_ops.run.done import own
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.proof import DifferentBox, Proof, RawFrom
from tbseg_ops.run.raw import SubVolume, read_volume
from tbseg_ops.run.records import Record
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress, silent
from tbseg_ops.settings import ILASTIK, here
from tbseg_ops.steps.merge import class_records
from tbseg_ops.storage.commit import commit_over
from tbseg_ops.volume import Source, open_mask, open_planned

SIDE = 24
MOST_BOXES, FEWEST_BOXES = 300, 30  # by default, by the size of the volume
ILASTIK_BOXES = 20  # it takes its time
_STORED = 100  # boxes that differ
_NAMED = 12  # of them in a message


def prove(
    *,
    run: Path,
    boxes: int | None = None,
    side: int = SIDE,
    seed: int = 0,
    engine: Literal[EngineName, "auto"] = "auto",
    classifier: Path | None = None,
    raw_from: Literal[RawFrom, "auto"] = "auto",
    threads: int = 1,
    team: Team | None = None,
    progress: Progress = silent,
) -> Proof:
    """Predict random ``boxes`` of ``side`` voxels, compare them with the merged file, store that.

    ``classifier``: where it lies now, if not where it was when the run was planned. ``auto``: the
    engine ilastik if this machine has the program and the run was not made by it, else native;
    voxels of the input volume if it is still there, else of the run's slabs.

    IntegrityError, after all are compared, names the boxes that are wrong and their tiles: any
    voxel that differs or, with ilastik on either side, more than 1 % of a box. ConfigError if the
    classifier, or what the result was computed from, is not to be had.
    """
    folder, team = RunFolder(run), team or Alone()
    plan = folder.plan
    piece, records = _merged(folder)
    chosen = _engine(plan) if engine == "auto" else engine
    side = min(side, max(plan.shape))
    bench = _Bench(
        folder.path,
        plan.digest,
        chosen,
        str((classifier or Path(here(plan.spec.classifier))).absolute()),
        _raw_from(folder) if raw_from == "auto" else raw_from,
        threads,
    )
    _check_classifier(folder, bench.classifier)
    if boxes is None:
        few = min(MOST_BOXES, max(FEWEST_BOXES, prod(plan.shape) // side**3))
        boxes = ILASTIK_BOXES if chosen == "ilastik" else few
    wanted = drawn(folder, [record.counts for record in records], side, boxes, seed)
    found = []
    compared = team.map(partial(_compare, bench), box_shares(plan, chosen, wanted, team.workers))
    for number, one in enumerate(chain.from_iterable(compared), start=1):
        found.append(one)
        progress(one.name, one.words, number, len(wanted))
    proof = _proof(folder, piece, bench, side, seed, found)
    if not team.is_root:
        return proof
    if own(folder, piece) is None:  # merged again in the meantime
        raise folder.plan_changed()
    commit_over(folder.proof_file, proof.to_bytes())
    if proof.wrong:
        raise _wrong(folder, proof)
    return proof


@dataclass(frozen=True)
class _Bench:
    """By what a worker predicts boxes; it is opened once per process."""

    run: Path
    plan: str
    engine: EngineName
    classifier: str
    raw_from: RawFrom
    threads: int


@dataclass(frozen=True)
class _Compared:
    """A box, its differences by dataset (voxels, largest), and the version of the engine.

    ``counts``: whether any of it is in the mask.
    """

    box: Box
    differences: dict[str, tuple[int, float]]
    version: str
    counts: bool

    @property
    def name(self) -> str:
        return f"box {self.box.lo} to {self.box.hi}"

    @property
    def words(self) -> str:
        voxels = {name: n for name, (n, _) in self.differences.items() if n}
        if not self.counts:
            return "outside of the mask"
        return ", ".join(f"{n} voxels of {name} differ" for name, n in voxels.items()) or "the same"


def _merged(folder: RunFolder) -> tuple[Piece, list[Record]]:
    """The merged file of the tiles as they are now, by its key alone: its bytes are what is tried.

    IntegrityError if there is none.
    """
    if "segmentation" in pruned(folder):
        raise ConfigError(
            "tbseg gc has removed the result of this run",
            file=folder.segmentation_file,
            mend="plan the run again and do all steps, to have it computed anew",
        )
    records = class_records(folder)
    piece = folder.merged(records)
    if own(folder, piece) is not None and piece.path.is_file():
        with opened(piece.path) as file:
            if stamped(file, "key") == piece.key:
                return piece, records
    raise IntegrityError(
        "there is no merged file of the tiles as they are now",
        file=folder.segmentation_file,
        mend=f"tbseg merge --run {folder.quoted}",
    )


def _engine(plan: Plan) -> EngineName:
    """Another engine than that of the run, if there is one."""
    if plan.spec.engine == "ilastik":
        return "ilastik" if plan.classifier.native_refusals else "native"
    from tbseg_ops.engines.ilastik.engine import find_ilastik

    try:
        find_ilastik()
    except ConfigError:
        if ILASTIK.text:  # somebody wants it: what is wrong with it must be said
            raise
        return "native"
    return "ilastik"


def _check_classifier(folder: RunFolder, path: str) -> None:
    """ConfigError unless the classifier of the plan lies there."""
    digest = folder.plan.classifier.digest
    is_there = Path(path).exists()
    found = read_passport(path).digest if is_there else "no such file"
    if found != digest:
        raise ConfigError(
            "this is not the classifier of the run" if is_there else "the classifier is not here",
            file=path,
            expected=f"digest {digest}",
            found=found,
            mend="give --classifier FILE: the .ilp with which the run was planned",
        )


def _raw_from(folder: RunFolder) -> RawFrom:
    """The input volume if it is still there, else the slabs; ConfigError without either."""
    try:
        with ExitStack() as stack:
            source, mask = _sources(folder, stack)
            source.fingerprints(0, 1)
            if mask is not None:
                mask.fingerprints(0, 1)
        return "input"
    except (InputError, ConfigError) as error:
        missing = [s.name for s in folder.plan.slabs if not folder.slab(s).path.exists()]
        if not missing and not folder.plan.refers:
            return "slabs"
        gone = f"{len(missing)} slabs are missing: " + (
            "tbseg gc has removed them" if "volume" in pruned(folder) else "".join(missing[:1])
        )
        if folder.plan.refers:
            gone = "the run refers to it, and has no copy"
        raise ConfigError(
            "nothing is left of what the result was computed from",
            file=folder.path / "volume",
            expected=f"the input volume {here(folder.plan.spec.volume)}, or the run's slabs of it",
            found=f"volume: {error.what}; {gone}",
            mend="bring the volume back to its place, or name that by TBSEG_PATHS",
        ) from error


def _sources(folder: RunFolder, stack: ExitStack) -> tuple[Source, Source | None]:
    """The volume and the mask of a plan."""
    spec, inputs = folder.plan.spec, folder.inputs
    volume, selection = here(spec.volume), spec.placed(here)
    source = open_planned(volume, inputs.slices, folder.plan.volume, selection)
    stack.enter_context(source)
    if spec.mask is None:
        return source, None
    shape = folder.plan.volume.shape
    mask = open_mask(here(spec.mask), shape, inputs.mask_slices)
    return source, stack.enter_context(mask)


@lru_cache(maxsize=1)
def _opened(bench: _Bench) -> tuple[RunFolder, Engine, Callable[[Box, Box], SubVolume]]:
    """The run, the engine, and what reads a halo box and the mask of its core."""
    folder = RunFolder(bench.run)
    if folder.plan.digest != bench.plan:
        raise folder.plan_changed()
    passport = folder.plan.classifier.model_copy(update={"path": bench.classifier})
    shape = folder.plan.volume.shape
    engine = load_engine(bench.engine, passport, volume_shape=shape, threads=bench.threads)
    if bench.raw_from == "slabs":
        return folder, engine, partial(read_volume, folder)
    return folder, engine, partial(_read_input, folder, *_sources(folder, ExitStack()))


def _read_input(
    folder: RunFolder, source: Source, mask: Source | None, box: Box, core: Box
) -> SubVolume:
    """As ``read_volume``, from the input; slice by slice, since a slice may be large."""
    inputs = folder.inputs
    box, core = (each.shifted(folder.plan.part.lo) for each in (box, core))

    def read(source: Source, box: Box, planned: tuple[str, ...]) -> list[np.ndarray]:
        _, y, x = box.slices
        slices = range(box.lo[0], box.hi[0])
        return [source.read(z, z + 1, planned).array[0, y, x].copy() for z in slices]

    try:
        raw = np.stack(read(source, box, inputs.fingerprints))
        if mask is None:
            return SubVolume(raw, None)
        inside = np.stack(read(mask, core, inputs.mask_fingerprints))[..., 0] != 0
    except InputError as error:
        error.mend = "put the volume back as it was, or have the run's own copy read: --raw slabs"
        raise
    return SubVolume(raw, inside.astype(np.uint8))


def _compare(bench: _Bench, boxes: Sequence[Box]) -> list[_Compared]:
    folder, engine, read = _opened(bench)
    return [
        _Compared(box, unlike, engine.version, part.mask is None or bool(part.mask.any()))
        for box, part, unlike in differences(folder, engine, read, boxes)
    ]


def _proof(
    folder: RunFolder, piece: Piece, bench: _Bench, side: int, seed: int, found: list[_Compared]
) -> Proof:
    plan = folder.plan
    exact = bit_stable(bench.engine) and bit_stable(plan.spec.engine)
    different, labels, apart = [], 0, 0.0
    for one in found:
        box, voxels = one.box, {name: n for name, (n, _) in one.differences.items() if n}
        labels += voxels.get(LABELS, 0)
        maps = (far for name, (_, far) in one.differences.items() if name.startswith("prob"))
        apart = max(apart, *maps, 0.0)
        wrong = max(voxels.values(), default=0) > (0 if exact else int(box.size * UNSTABLE_SHARE))
        if wrong or (voxels if exact else LABELS in voxels):
            tiles = tuple(tiles_of(plan.grid, box))
            different.append(
                DifferentBox(lo=box.lo, hi=box.hi, tiles=tiles, voxels=voxels, wrong=wrong)
            )
    different.sort(key=lambda box: (not box.wrong, box.lo))
    counted = [one for one in found if one.counts or any(n for n, _ in one.differences.values())]
    scale = 100 if plan.spec.probability_dtype == "uint8" else 1
    return Proof(
        merged=piece.key,
        engine=bench.engine,
        engine_version=found[0].version if found else "",
        raw_from=bench.raw_from,
        seed=seed,
        side=side,
        exact=exact,
        boxes=len(counted),
        differing=len(different),
        wrong=sum(box.wrong for box in different),
        voxels=sum(one.box.size for one in counted),
        labels=labels,
        probability=apart / scale if plan.probability_labels else None,
        different=tuple(different[:_STORED]),
    )


def _wrong(folder: RunFolder, proof: Proof) -> IntegrityError:
    plan = folder.plan
    boxes = [box for box in proof.different if box.wrong]
    tiles = sorted({tile for box in boxes for tile in box.tiles})
    now = f"{proof.engine} {proof.engine_version}"
    return IntegrityError(
        f"{proof.wrong} of {proof.boxes} boxes are not what engine {now} gives without tiles:\n    "
        + "\n    ".join(map(str, boxes[:_NAMED])),
        file=folder.segmentation_file,
        tile=", ".join(tiles[:_NAMED]) + (" ..." if len(tiles) > _NAMED else ""),
        expected=f"what engine {plan.spec.engine} {plan.engine_version} gave when it was planned",
        found=proof.statement,
        mend=f"tbseg verify --run {folder.quoted} tells whether the file was damaged; else classify"
        " these tiles again (tbseg classify --tiles), merge, and report this",
    )
