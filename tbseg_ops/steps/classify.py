"""classify: K class arrays per tile by the classifier's own forest; each tile done exactly once."""

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines import Engine, hard_labels
from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, stamp
from tbseg_ops.run import Alone, Plan, RunFolder, Team
from tbseg_ops.run.finish import Done, Facts, How, Made, finish
from tbseg_ops.run.outputs import LABELS, chunks_digest, create_outputs, encoded, raw_chunks
from tbseg_ops.run.prediction import Prediction, earlier_prediction
from tbseg_ops.run.raw import SubVolume
from tbseg_ops.run.result import Progress, StepResult, counted, silent, told
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.steps.split import read_tile

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
    hows: Counter[How] = Counter()
    with folder.swept(team.is_root):
        for done in team.map(work, wanted):
            hows[done.how] += 1
            progress(done.record.name, told(done), hows.total(), len(wanted))
    return counted("classify", hows, time.perf_counter() - start)


def wanted_key(folder: RunFolder, tile: Tile) -> str | None:
    """The key that a tile's class file must have now; None if its raw voxels are not known yet."""
    content = known_content(folder, tile)
    return None if content is None else folder.plan.classify_key(content, tile)


def known_content(folder: RunFolder, tile: Tile) -> str | None:
    """The digest of a tile's raw voxels, by the record of its sub-volume if there is one."""
    record = folder.records("split").get(tile.name)
    if record is None or record.key != folder.plan.split_key(folder.inputs, tile):
        return None
    return record.content


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
        content = known_content(folder, tile)
        if content is None:
            part, content = read_tile(folder, tile)
        key = folder.plan.classify_key(content, tile)
        return finish(
            folder,
            "classify",
            tile.name,
            key,
            folder.classes_file(tile.name, key),
            lambda: self._make(tile, key, content, part),
            force=self.force,
        )

    def _make(self, tile: Tile, key: str, content: str, part: SubVolume | None) -> Made:
        folder = self.place.folder
        plan = folder.plan
        predicted = plan.predicted_key(content, tile)
        earlier = None if self.force else earlier_prediction(folder, tile, predicted)
        with_raw = earlier is None or plan.spec.output == "intensity"
        if with_raw and part is None:
            part = read_tile(folder, tile)[0]
        core = tile.core.relative_to(tile.box.lo)
        if earlier is None:
            assert part is not None
            prediction = predict(plan, self.place.engine(self.threads), part, core)
            not_finite = count_not_finite(part.raw[core.slices])
        else:
            prediction, not_finite = earlier
        raw = None if part is None else part.raw[core.slices]
        arrays, counts = outputs(plan, prediction, raw, tile.name)
        facts = Facts(content_of_arrays(arrays), "", counts, not_finite, predicted)

        def fill(file: h5py.File) -> None:
            nonlocal facts
            create_outputs(file, plan, tile.core.shape)
            for name, array in arrays.items():
                file[name][...] = array
            file.flush()
            chunks = chunks_digest(raw_chunks(file, plan, tile.core, (0, 0, 0)))
            facts = replace(facts, chunks=chunks)
            stamp(file, key=key, **asdict(facts))
            stamp(file, core=[tile.core.lo, tile.core.hi])

        image = image_of(fill)
        return Made(image, facts, derived=earlier is not None)


def classified(
    plan: Plan, engine: Engine, part: SubVolume, core: Box, tile: str
) -> tuple[dict[str, NDArray[np.generic]], tuple[int, ...]]:
    """The output datasets of a core (name: array z, y, x) and the voxel count of each class.

    ``core``: relative to the halo box ``part.raw``. Outside of the mask labels are 0, and so are
    all classes and probabilities.
    """
    return outputs(plan, predict(plan, engine, part, core), part.raw[core.slices], tile)


def predict(plan: Plan, engine: Engine, part: SubVolume, core: Box) -> Prediction:
    """What the engine says of a core, with the probability maps that the plan wants."""
    labels, maps = _predicted(engine, part, core, bool(plan.probability_labels))
    return Prediction(labels, {i: maps[i] for i in plan.probability_labels})


def outputs(
    plan: Plan, prediction: Prediction, raw: NDArray[np.generic] | None, tile: str
) -> tuple[dict[str, NDArray[np.generic]], tuple[int, ...]]:
    """What is written of a prediction; ``raw`` (z, y, x, c) of the core, for intensities only."""
    names = encoded(plan.classifier.labels)
    labels = prediction.labels
    arrays: dict[str, NDArray[np.generic]] = {LABELS: labels}
    counts = []
    for number, name in enumerate(names, start=1):
        mask = labels == number
        counts.append(int(np.count_nonzero(mask)))
        if plan.spec.output == "mask":
            arrays[f"classes/{name}"] = mask.astype(np.uint8)
        else:
            assert raw is not None
            inside = np.where(mask[..., None], raw, np.zeros((), raw.dtype))
            arrays[f"classes/{name}"] = inside[..., 0] if raw.shape[3] == 1 else inside
    for index, array in prediction.maps.items():
        if array.dtype != plan.spec.probability_dtype:
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


def _percent(probabilities: NDArray[np.generic], tile: str) -> NDArray[np.uint8]:
    """Whole percents; IntegrityError if that would lose anything."""
    percents = probabilities.astype(np.float32) * np.float32(100)
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
