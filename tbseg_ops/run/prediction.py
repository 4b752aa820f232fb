"""What an engine says of a tile, and what is written of it: masks, intensities, probability maps.

All of these are made from labels and probabilities. Where a class file that was written for other
outputs has them, no engine need be asked.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines import Engine, at_once, hard_labels
from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened
from tbseg_ops.options import EngineName
from tbseg_ops.run import Plan, RunFolder
from tbseg_ops.run.done import Found, how, records_of
from tbseg_ops.run.outputs import LABELS, encoded
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.raw import SubVolume

P = TypeVar("P")

_PERCENT_TOLERANCE = 1e-3  # of a percent; float32 rounding is below 1e-5


@dataclass(frozen=True)
class Prediction:
    """``labels`` (z, y, x), uint8, 1 for the first class, 0 outside of the mask.

    ``maps``: probabilities (z, y, x) by the index of their class; float32, or uint8 percents.
    """

    labels: NDArray[np.uint8]
    maps: dict[int, NDArray[np.generic]]


def predict(plan: Plan, engine: Engine, part: SubVolume, core: Box) -> Prediction:
    """What the engine says of a core, with the probability maps that the plan wants.

    ``core``: relative to the halo box ``part.raw``. Outside of the mask labels and probabilities
    are 0, and only the box around it is computed: exact, since a voxel sees no further than the
    halo.
    """
    (found,) = predict_all(plan, engine, [(part, core)])
    return found


def predict_all(
    plan: Plan, engine: Engine, parts: Sequence[tuple[SubVolume, Box]]
) -> Generator[Prediction, None, None]:
    """``predict`` of each of a share (see ``shares``), as it comes."""
    boxes = [core if part.mask is None else _around(part.mask, core) for part, core in parts]
    asked = [
        (part.raw, box) for (part, _), box in zip(parts, boxes, strict=True) if box is not None
    ]
    with closing(_answers(plan, engine, asked)) as answers:
        for (part, core), box in zip(parts, boxes, strict=True):
            if part.mask is None:
                yield next(answers)
            else:
                found = None if box is None else (box, next(answers))
                yield _masked(plan, part.mask, core, found)


def _answers(
    plan: Plan, engine: Engine, asked: Sequence[tuple[NDArray[np.generic], Box]]
) -> Generator[Prediction, None, None]:
    if len(asked) == 1 and not plan.probability_labels:
        yield Prediction(engine.predict_labels(*asked[0]), {})
        return
    with closing(engine.predict_all(asked)) as answers:
        for maps in answers:
            yield Prediction(hard_labels(maps), {i: maps[i] for i in plan.probability_labels})


def _masked(
    plan: Plan, mask: NDArray[np.uint8], core: Box, found: tuple[Box, Prediction] | None
) -> Prediction:
    """All of a core, of which a box around its mask was computed, if it has any."""
    labels = np.zeros(core.shape, np.uint8)
    maps = {i: np.zeros(core.shape, np.float32) for i in plan.probability_labels}
    if found is not None:
        box, some = found
        inside = box.relative_to(core.lo).slices
        labels[inside] = np.where(mask[inside] != 0, some.labels, 0)
        for i, array in some.maps.items():
            maps[i][inside] = np.where(mask[inside] != 0, array, 0)
    return Prediction(labels, dict(maps))


def shares(
    plan: Plan, engine: EngineName, pieces: Sequence[P], voxels: int, workers: int
) -> list[Sequence[P]]:
    """``pieces``, of up to so many ``voxels``, in the shares for which the engine is asked at once.

    They are of about one size, equally many for each of the ``workers``.
    """
    if not pieces:
        return []
    most = at_once(engine, voxels * plan.volume.channels)
    rounds = ceil(len(pieces) / (workers * most))
    size = ceil(len(pieces) / (workers * rounds))
    return [pieces[i : i + size] for i in range(0, len(pieces), size)]


def _around(mask: NDArray[np.uint8], core: Box) -> Box | None:
    """The smallest box that holds all of a core's mask, if there is any; placed as the core is."""
    lo, hi = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        if not len(found):
            return None
        lo.append(int(found[0]))
        hi.append(int(found[-1]) + 1)
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2])).shifted(core.lo)


def written(
    plan: Plan, prediction: Prediction, raw: NDArray[np.generic] | None, tile: str
) -> tuple[dict[str, NDArray[np.generic]], tuple[int, ...]]:
    """The datasets of a class file (name: array z, y, x), and the voxel count of each class.

    ``raw`` (z, y, x, c): of the core, for intensities only. Outside of the mask all is 0.
    """
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


def earlier_prediction(folder: RunFolder, piece: Piece) -> tuple[Prediction, int] | None:
    """What was computed for a tile under the identity ``piece.predicted``, if all is there.

    From the class file of this run's earlier plan, or of an earlier run; with the number of raw
    values that are not finite. Files that are not as recorded are passed over.
    """
    for found in _of_identity(folder, piece):
        if found.is_intact and (prediction := _read(folder, found, whole=True)) is not None:
            return prediction, found.record.not_finite
    return None


def is_derivable(folder: RunFolder, piece: Piece) -> bool:
    """Whether ``earlier_prediction`` would find one; no file is digested."""
    return any(
        found.is_there and _read(folder, found, whole=False) is not None
        for found in _of_identity(folder, piece)
    )


def is_known(folder: RunFolder, piece: Piece) -> bool:
    """Whether no engine need be asked for a class file; no file is digested."""
    return how(folder, piece) != "computed" or is_derivable(folder, piece)


def _of_identity(folder: RunFolder, piece: Piece) -> Iterator[Found]:
    found = records_of(folder, "classify", piece.name)
    return (f for f in found if f.record.predicted == piece.predicted)


def _read(folder: RunFolder, found: Found, *, whole: bool) -> Prediction | None:
    """If a class file has all maps that the plan wants, in a type that loses nothing: these.

    Without their voxels unless ``whole``.
    """
    wanted, voxels = folder.plan.spec.probability_dtype, ... if whole else slice(0)
    try:
        with opened(found.path) as file:
            maps = {i: file[name] for i, name in _maps(folder).items() if name in file}
            if len(maps) < len(_maps(folder)):
                return None
            if any(data.dtype not in (np.float32, wanted) for data in maps.values()):
                return None
            return Prediction(file[LABELS][voxels], {i: data[voxels] for i, data in maps.items()})
    except IntegrityError:
        return None


def _maps(folder: RunFolder) -> dict[int, str]:
    """The dataset of each probability map that the plan wants."""
    names = encoded(folder.plan.classifier.labels)
    return {i: f"probabilities/{names[i]}" for i in folder.plan.probability_labels}
