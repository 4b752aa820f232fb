"""Where the labels of two runs differ: in all, by tile, and which class became which."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import UsageError
from tbseg_ops.geometry import Box, Index
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


def names_differ(first: RunFolder, second: RunFolder) -> NDArray[np.bool_]:
    """Whether label i of the first run and label j of the second are two classes."""
    names = [(OUTSIDE, *folder.plan.classifier.labels) for folder in (first, second)]
    return np.array([[a != b for b in names[1]] for a in names[0]])


class Pair:
    """Two merged runs of one shape, for looking where their labels differ.

    Classes are the same if they have the same name, whatever their value. Tiles are those of the
    first run; the second may have others. UsageError if a run is not merged or shapes differ.
    """

    def __init__(self, first: RunView, second: RunView) -> None:
        self.first, self.second = first.folder, second.folder
        for view in (first, second):
            if not view.whole.merged:
                raise UsageError(
                    "the run has no result yet",
                    file=view.folder.path,
                    mend="compare when its tiles are merged: tbseg status tells how far it is",
                )
        shape = self.first.plan.shape
        if self.second.plan.shape != shape:
            raise UsageError(
                "the runs are of another shape",
                file=self.second.path,
                expected=" x ".join(map(str, shape)) + f" voxels, as {self.first.path} has",
                found=" x ".join(map(str, self.second.plan.shape)),
                mend="compare runs of the same volume, or of the same part of it",
            )
        self.names = [(OUTSIDE, *f.plan.classifier.labels) for f in (self.first, self.second)]
        self.differs = names_differ(self.first, self.second)

    @contextmanager
    def opened(self) -> Iterator[tuple[h5py.File, h5py.File]]:
        """The merged files. IntegrityError if one is damaged."""
        with (
            opened(self.first.segmentation_file) as one,
            opened(self.second.segmentation_file) as two,
        ):
            yield one, two

    def counted(self, box: Box, files: tuple[h5py.File, h5py.File]) -> NDArray[np.int64]:
        """Voxels of a box by label of the first run (rows) and of the second, block by block."""
        counts = np.zeros(self.differs.shape, np.int64)
        for block in box.blocks(_BLOCK):
            a, b = (file[LABELS][block.slices] for file in files)
            counts += _confusion(a, b, counts.shape)
        return counts

    def compared(self, counts: NDArray[np.int64], different: NDArray[np.int64]) -> RunsCompared:
        """The figures from ``counts`` of all voxels and the ``different`` voxels of each tile.

        A tile that was not looked at yet has less than 0.
        """
        grid = self.first.plan.grid
        many, voxels = int(counts[self.differs].sum()), int(counts.sum())
        tiles = (grid[int(index)] for index in np.flatnonzero(different > 0))
        found = [
            TileDifference(
                name=tile.name,
                lo=tile.core.lo,
                hi=tile.core.hi,
                voxels=tile.core.size,
                different=int(different[tile.index]),
            )
            for tile in tiles
        ]
        return RunsCompared(
            first=str(self.first.path),
            second=str(self.second.path),
            shape=self.first.plan.shape,
            voxels=voxels,
            different=many,
            share=many / max(voxels, 1),
            tiles=len(grid),
            first_classes=self.names[0],
            second_classes=self.names[1],
            confusion=tuple(tuple(map(int, row)) for row in counts),
            most=tuple(sorted(found, key=lambda tile: (-tile.share, tile.name))),
        )


def compare(first: RunFolder, second: RunFolder, progress: Progress = silent) -> RunsCompared:
    """The labels of two merged runs of one shape, voxel by voxel, as ``Pair`` has them.

    UsageError if they cannot be compared; IntegrityError if a merged file is damaged.
    """
    pair = Pair(RunView(first), RunView(second))
    grid = pair.first.plan.grid
    total, different = np.zeros(pair.differs.shape, np.int64), np.zeros(len(grid), np.int64)
    with pair.opened() as files:
        for tile in grid:
            counts = pair.counted(tile.core, files)
            total += counts
            different[tile.index] = many = int(counts[pair.differs].sum())
            progress(tile.name, f"{many:,} voxels differ", tile.index + 1, len(grid))
    return pair.compared(total, different)


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
