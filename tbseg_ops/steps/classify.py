"""classify: K class arrays per tile by the classifier's own forest; each tile done exactly once."""

import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import Engine, hard_labels
from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.run import Alone, Plan, RunFolder, Team
from tbseg_ops.run.files import (
    LABELS,
    chunks_digest,
    content_of_arrays,
    count_not_finite,
    create_outputs,
    encoded,
    image_of,
    raw_chunks,
    stamp,
)
from tbseg_ops.run.finish import Done, Facts, Made, finish
from tbseg_ops.steps.result import Progress, StepResult, silent, told
from tbseg_ops.steps.split import SubVolume, read_tile
from tbseg_ops.steps.work import Workplace

_PERCENT_TOLERANCE = 1e-3  # of a percent; float32 rounding is below 1e-5


def classify(
    *,
    run: Path,
    batch: int | None = None,
    tiles: tuple[str, ...] | None = None,
    threads: int = 1,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Classify what is missing of a batch or of all tiles; the named ``tiles`` are done anew.

    The result is the same bytes for any number of workers and ``threads`` (of the engine).
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    work = ClassifyTile(Workplace.of(folder), threads, force=tiles is not None)
    computed = number = 0
    with folder.swept(team.is_root):
        for done in team.map(work, wanted):
            computed, number = computed + done.computed, number + 1
            progress(done.record.name, told(done), number, len(wanted))
    return StepResult(
        step="classify",
        computed=computed,
        reused=number - computed,
        seconds=round(time.perf_counter() - start, 3),
    )


def wanted_key(folder: RunFolder, tile: Tile) -> str | None:
    """The key that a tile's class file must have now; None if its raw voxels are not known yet."""
    record = folder.records("split").get(tile.name)
    if record is None or record.key != folder.plan.split_key(folder.inputs, tile):
        return None
    return folder.plan.classify_key(record.content, tile)


@dataclass(frozen=True)
class ClassifyTile:
    """The work on one tile, by its index in the grid; small to pickle."""

    place: Workplace
    threads: int
    force: bool

    def __call__(self, index: int) -> Done:
        folder = self.place.folder
        tile = folder.plan.grid[index]
        part: SubVolume | None = None
        key = wanted_key(folder, tile)
        if key is None:
            part, content = read_tile(folder, tile)
            key = folder.plan.classify_key(content, tile)
        return finish(
            folder,
            "classify",
            tile.name,
            key,
            folder.classes_file(tile.name, key),
            lambda: self._make(tile, key, part or read_tile(folder, tile)[0]),
            force=self.force,
        )

    def _make(self, tile: Tile, key: str, part: SubVolume) -> Made:
        plan = self.place.folder.plan
        core = tile.core.relative_to(tile.box.lo)
        engine = self.place.engine(self.threads)
        arrays, counts = classified(plan, engine, part, core, tile.name)
        content = content_of_arrays(arrays)
        chunks = ""
        not_finite = count_not_finite(part.raw[core.slices])

        def fill(file: h5py.File) -> None:
            nonlocal chunks
            create_outputs(file, plan, tile.core.shape)
            for name, array in arrays.items():
                file[name][...] = array
            file.flush()
            chunks = chunks_digest(raw_chunks(file, plan, tile.core, (0, 0, 0)))
            stamp(file, key=key, content=content, chunks=chunks)
            stamp(file, counts=counts, not_finite=not_finite, core=[tile.core.lo, tile.core.hi])

        image = image_of(fill)
        return Made(image, Facts(content, chunks, counts, not_finite))


def classified(
    plan: Plan, engine: Engine, part: SubVolume, core: Box, tile: str
) -> tuple[dict[str, NDArray[np.generic]], tuple[int, ...]]:
    """The output datasets of a core (name: array z, y, x) and the voxel count of each class.

    ``core``: relative to the halo box ``part.raw``. Outside of the mask labels are 0, and so are
    all classes and probabilities.
    """
    names = encoded(plan.classifier.labels)
    labels, probabilities = _predicted(engine, part, core, bool(plan.probability_labels))
    arrays: dict[str, NDArray[np.generic]] = {LABELS: labels}
    raw = part.raw
    counts = []
    for number, name in enumerate(names, start=1):
        mask = labels == number
        counts.append(int(np.count_nonzero(mask)))
        if plan.spec.output == "mask":
            arrays[f"classes/{name}"] = mask.astype(np.uint8)
        else:
            inside = np.where(mask[..., None], raw[core.slices], np.zeros((), raw.dtype))
            arrays[f"classes/{name}"] = inside[..., 0] if raw.shape[3] == 1 else inside
    for index in plan.probability_labels:
        array = probabilities[index]
        if plan.spec.probability_dtype == "uint8":
            array = _percent(array, tile)
        arrays[f"probabilities/{names[index]}"] = array
    return arrays, tuple(counts)


def _predicted(
    engine: Engine, part: SubVolume, core: Box, with_probabilities: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels (z, y, x) of a core and, if wanted, probabilities (K, z, y, x); 0 outside of the mask.

    Only the box around the mask is computed. Exact, since a voxel sees no further than the halo.
    """
    if part.mask is None:
        return _of_box(engine, part.raw, core, with_probabilities)
    labels = np.zeros(core.shape, np.uint8)
    probabilities = np.zeros(
        (len(engine.labels), *core.shape) if with_probabilities else (0,), np.float32
    )
    inside = _around(part.mask)
    if inside is not None:
        box = inside.shifted(core.lo)
        some, maps = _of_box(engine, part.raw, box, with_probabilities)
        mask = part.mask[inside.slices] != 0
        labels[inside.slices] = np.where(mask, some, 0)
        if with_probabilities:
            probabilities[:, *inside.slices] = np.where(mask, maps, 0)
    return labels, probabilities


def _of_box(
    engine: Engine, raw: NDArray[np.generic], box: Box, with_probabilities: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    if with_probabilities:
        probabilities = engine.predict(raw, box)
        return hard_labels(probabilities), probabilities
    return engine.predict_labels(raw, box), np.zeros(0, np.float32)


def _around(mask: NDArray[np.uint8]) -> Box | None:
    """The smallest box that holds all of a mask, if there is any."""
    lo, hi = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None
        lo.append(int(found[0]))
        hi.append(int(found[-1]) + 1)
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


def _percent(probabilities: NDArray[np.float32], tile: str) -> NDArray[np.uint8]:
    """Whole percents; IntegrityError if that would lose anything."""
    percents = probabilities * np.float32(100)
    whole = np.rint(percents)
    worst = float(np.abs(percents - whole).max(initial=0.0))
    if not worst <= _PERCENT_TOLERANCE:
        raise IntegrityError(
            "a probability is not a whole percent: uint8 would lose some of it",
            tile=tile,
            expected="k/100",
            found=f"{worst:.4f} percent off",
            mend="use --probability-dtype float32",
        )
    percent: NDArray[np.uint8] = whole.astype(np.uint8)
    return percent
