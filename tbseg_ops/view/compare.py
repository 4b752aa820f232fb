"""Where the labels of two runs differ: in all, by tile, and which class became which."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import UsageError
from tbseg_ops.geometry import Index
from tbseg_ops.hdf5.image import opened
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.run.result import Progress, silent
from tbseg_ops.stored import Stored
from tbseg_ops.view.tiles import RunView

OUTSIDE = "(outside of the mask)"  # what has the label 0
_FEW = 64  # pairs of classes
_BLOCK: Index = (64, 256, 256)  # voxels that are held at a time


class TileDifference(Stored):
    """A tile of the first run: how many of its ``voxels`` have another class in the second."""

    name: str
    lo: Index
    hi: Index
    voxels: int
    different: int

    @property
    def share(self) -> float:
        return self.different / self.voxels


class RunsCompared(Stored):
    """``confusion``: voxels by class of the first run (rows) and of the second (columns).

    Rows and columns have the names ``first_classes`` and ``second_classes``, of which the first is
    ``OUTSIDE``. ``most``: tiles that differ, those with the largest share first.
    """

    first: str
    second: str
    shape: Index
    voxels: int
    different: int
    share: float
    tiles: int
    first_classes: tuple[str, ...]
    second_classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    most: tuple[TileDifference, ...]


def compare(first: RunFolder, second: RunFolder, progress: Progress = silent) -> RunsCompared:
    """The labels of two merged runs of one shape, voxel by voxel, block by block.

    Classes are the same if they have the same name, whatever their value. Tiles are those of the
    first run; the second may have others. UsageError if a run is not merged or shapes differ;
    IntegrityError if a merged file is damaged.
    """
    for folder in (first, second):
        if not RunView(folder).whole.merged:
            raise UsageError(
                "the run has no result yet",
                file=folder.path,
                mend="compare when its tiles are merged: tbseg status tells how far it is",
            )
    shape = first.plan.shape
    if second.plan.shape != shape:
        raise UsageError(
            "the runs are of another shape",
            file=second.path,
            expected=" x ".join(map(str, shape)) + f" voxels, as {first.path} has",
            found=" x ".join(map(str, second.plan.shape)),
            mend="compare runs of the same volume, or of the same part of it",
        )
    names = [(OUTSIDE, *folder.plan.classifier.labels) for folder in (first, second)]
    other = np.array([[a != b for b in names[1]] for a in names[0]])
    total = np.zeros(other.shape, np.int64)
    grid, found = first.plan.grid, []
    with opened(first.segmentation_file) as one, opened(second.segmentation_file) as two:
        for number, tile in enumerate(grid, start=1):
            counts = np.zeros_like(total)
            for block in tile.core.blocks(_BLOCK):
                a, b = (file[LABELS][block.slices] for file in (one, two))
                counts += _confusion(a, b, total.shape)
            total += counts
            different = int(counts[other].sum())
            if different:
                core = tile.core
                found.append(
                    TileDifference(
                        name=tile.name,
                        lo=core.lo,
                        hi=core.hi,
                        voxels=core.size,
                        different=different,
                    )
                )
            progress(tile.name, f"{different:,} voxels differ", number, len(grid))
    different, voxels = int(total[other].sum()), int(total.sum())
    return RunsCompared(
        first=str(first.path),
        second=str(second.path),
        shape=shape,
        voxels=voxels,
        different=different,
        share=different / voxels,
        tiles=len(grid),
        first_classes=names[0],
        second_classes=names[1],
        confusion=tuple(tuple(map(int, row)) for row in total),
        most=tuple(sorted(found, key=lambda tile: (-tile.share, tile.name))),
    )


def _confusion(
    a: NDArray[np.unsignedinteger], b: NDArray[np.unsignedinteger], shape: Sequence[int]
) -> NDArray[np.int64]:
    """How often each pair of values is there."""
    many = shape[0] * shape[1]
    if many <= _FEW:  # a byte for a pair: several times as fast as bincount
        byte = a.astype(np.uint8) * np.uint8(shape[1]) + b.astype(np.uint8)
        found = np.array([np.count_nonzero(byte == pair) for pair in range(many)])
    else:
        found = np.bincount(a.astype(np.int32).ravel() * shape[1] + b.ravel(), minlength=many)
    return found.reshape(shape)
