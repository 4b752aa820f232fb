"""Pictures of planes of a run: the whole of one from afar, a tile's own in full."""

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import UsageError
from tbseg_ops.geometry import Box, Index
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.view.compare import names_differ
from tbseg_ops.view.paint import Color, Range, colored, colors_of, png, range_of, stretched
from tbseg_ops.view.tiles import RunView
from tbseg_ops.view.voxels import FAR, Classes, level_shape, raw_picked, thinned

LARGEST = 1024  # pixels a side of a picture from afar
_PATIENCE_SECONDS = 1.0  # for labels of tiles that were not looked at before
_SAMPLE = 48  # voxels a side of what the grey values are scaled by


DIFFERENT: Color = (255, 64, 255)  # voxels of other classes: no classifier's colour is that loud

_Axes = list[NDArray[np.int64]]  # which planes, rows and columns


class Picture(NamedTuple):
    """A PNG; not ``complete`` if there is more to be had by asking again."""

    png: bytes
    complete: bool


class Pictures:
    """Pictures of a run as PNG: raw in grey, labels in colour and transparent where there are none.

    Grey values are between percentiles of the whole volume, so that slices can be compared.
    """

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._labels = Classes(view, LABELS)
        self._range: tuple[object, Range] = (None, (0.0, 1.0))
        self._lock = threading.Lock()

    def plane(self, kind: str, axis: int, at: int, other: "Pictures | None" = None) -> Picture:
        """One plane of the result, at most ``LARGEST`` pixels a side; ``axis``: 0 for z, 1, 2.

        Of labels of a large volume, the next plane that far views have. ``other``: the run that
        the kinds *other* (its labels) and *difference* are of.
        """
        shape = self._view.folder.plan.shape
        level = 0
        while max(n for a, n in enumerate(shape) if a != axis) > LARGEST * 2**level:
            level += 1
        if kind != "raw" and level > 1:  # else only what is seen is decompressed
            level = max(level, FAR)
        axes = [
            thinned(0, size, level, n)
            for size, n in zip(level_shape(shape, level), shape, strict=True)
        ]
        wanted = min(max(at, 0), shape[axis] - 1)
        near = axes[axis][np.argmin(abs(axes[axis] - wanted))]
        axes[axis] = np.array([near if kind != "raw" and level >= FAR else wanted])
        return self._painted(kind, axes, axis, level, other)

    def tile(self, kind: str, name: str, axis: int, other: "Pictures | None" = None) -> Picture:
        """The middle plane of a tile, its halo included, of labels as far as they are there."""
        folder = self._view.folder
        (tile,) = folder.tiles(None, (name,))
        within = Box((0, 0, 0), folder.plan.shape)
        box = tile.box.intersection(within)
        assert box is not None
        middle = (tile.core.lo[axis] + tile.core.hi[axis]) // 2
        axes = [
            np.array([middle]) if a == axis else np.arange(lo, hi)
            for a, (lo, hi) in enumerate(zip(box.lo, box.hi, strict=True))
        ]
        return self._painted(kind, axes, axis, 0, other)

    def bounds(self) -> Range:
        """The raw values that are shown as black and white."""
        folder = self._view.folder
        done = len(folder.records("ingest").names())
        key = (folder.plan.inputs_digest, done)
        with self._lock:
            if self._range[0] != key:
                shape = folder.plan.read.shape
                axes = [np.unique(np.linspace(0, n - 1, _SAMPLE).astype(np.int64)) for n in shape]
                sample = raw_picked(folder, axes)[..., 0]
                there = sample[(sample != 0).any(axis=(1, 2))]
                self._range = (key, range_of(there))
            return self._range[1]

    def _painted(
        self, kind: str, axes: _Axes, axis: int, level: int, other: "Pictures | None"
    ) -> Picture:
        folder = self._view.folder
        if kind == "raw":
            moved = [a + o for a, o in zip(axes, _before(folder), strict=True)]
            raw = raw_picked(folder, moved)[..., 0].squeeze(axis)
            return Picture(png(stretched(raw, self.bounds()).astype(np.uint8)), True)
        if kind == "labels":
            return self._classes(axes, axis, level)
        if kind == "other" and other is not None:
            return other._classes(axes, axis, level)
        if kind == "difference" and other is not None:
            (a, ready), (b, there) = (p._picked(axes, level) for p in (self, other))
            differs = names_differ(folder, other._view.folder)[a, b].squeeze(axis)
            return Picture(png(colored(differs, [DIFFERENT])), ready and there)
        expected = "raw, labels, or beside another run other and difference"
        raise UsageError("there is no such picture", expected=expected, found=kind)

    def _classes(self, axes: _Axes, axis: int, level: int) -> Picture:
        labels, complete = self._picked(axes, level)
        image = colored(labels.squeeze(axis), colors_of(self._view.folder.plan.classifier))
        return Picture(png(image), complete)

    def _picked(self, axes: _Axes, level: int) -> tuple[NDArray[np.generic], bool]:
        """Labels, and whether they are all there."""
        labels, complete = self._labels.picked(axes, level, _PATIENCE_SECONDS)
        if labels is None:
            labels = np.zeros([len(a) for a in axes], np.uint8)
        return labels, complete


def _before(folder: RunFolder) -> Index:
    """How many voxels were read before the first of the part that is classified."""
    z, y, x = folder.plan.part.relative_to(folder.plan.read.lo).lo
    return z, y, x
