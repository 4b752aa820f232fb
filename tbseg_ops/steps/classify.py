"""classify: K class arrays per tile by the classifier's own forest; each tile done exactly once."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines import Engine, hard_labels
from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box, Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, stamp
from tbseg_ops.run import Plan, RunFolder, Team
from tbseg_ops.run.finish import Facts, Finished, Made, finish
from tbseg_ops.run.outputs import LABELS, chunks_digest, create_outputs, encoded, raw_chunks
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.prediction import Prediction, earlier_prediction
from tbseg_ops.run.raw import SubVolume
from tbseg_ops.run.result import Progress, StepResult, silent, work_through
from tbseg_ops.run.state import own_content
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
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    work = partial(classify_tile, Workplace.of(folder), threads, tiles is not None)
    return work_through("classify", folder, wanted, work, team, progress)


def classify_tile(place: Workplace, threads: int, force: bool, index: int) -> Finished:
    """The class file of one tile, by its index in the grid."""
    folder = place.folder
    tile = folder.plan.grid[index]
    part: SubVolume | None = None
    content = own_content(folder, tile)
    if content is None:
        part, content = read_tile(folder, tile)
    piece = folder.classes(tile, content)
    return finish(
        folder, piece, lambda: _make(place, threads, force, tile, piece, part), force=force
    )


def _make(
    place: Workplace, threads: int, force: bool, tile: Tile, piece: Piece, part: SubVolume | None
) -> Made:
    """``part``: the tile's sub-volume, if it has been read already."""
    folder, plan = place.folder, place.folder.plan
    earlier = None if force else earlier_prediction(folder, piece)
    if part is None and (earlier is None or plan.spec.output == "intensity"):
        part = read_tile(folder, tile)[0]
    core = tile.core.relative_to(tile.box.lo)
    raw = None if part is None else part.raw[core.slices]
    if earlier is None:
        assert part is not None
        prediction = predict(plan, place.engine(threads), part, core)
        not_finite = count_not_finite(part.raw[core.slices])
    else:
        prediction, not_finite = earlier
    arrays, counts = outputs(plan, prediction, raw, tile.name)
    facts = Facts(content_of_arrays(arrays), "", counts, not_finite, piece.predicted)

    def fill(file: h5py.File) -> None:
        nonlocal facts
        create_outputs(file, plan, tile.core.shape)
        for name, array in arrays.items():
            file[name][...] = array
        file.flush()
        facts = replace(facts, chunks=chunks_digest(raw_chunks(file, plan, tile.core, (0, 0, 0))))
        stamp(file, key=piece.key, **asdict(facts))
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
