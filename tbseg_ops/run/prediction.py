"""What an engine said of a tile, read again from a class file that was written for other outputs.

Masks, intensities and probability maps are all made from labels and probabilities: where these are
there, no engine need be asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import IntegrityError
from tbseg_ops.hdf5.image import opened
from tbseg_ops.run import RunFolder
from tbseg_ops.run.outputs import LABELS, encoded
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.state import Found, records_of


@dataclass(frozen=True)
class Prediction:
    """``labels`` (z, y, x), uint8, 1 for the first class, 0 outside of the mask.

    ``maps``: probabilities (z, y, x) by the index of their class; float32, or uint8 percents.
    """

    labels: NDArray[np.uint8]
    maps: dict[int, NDArray[np.generic]]


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
