"""The engine ``native``: ilastik's features and random forest without ilastik."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.forests import Forest
from tbseg_ops.classifier.passport import Feature, Passport
from tbseg_ops.engines.contract import NATIVE_VERSION
from tbseg_ops.engines.native.features.bricks import BrickFeatures
from tbseg_ops.engines.native.forest.bricks import BrickForest
from tbseg_ops.geometry import Box, Index

_SIDE = 128
_FOUR = {1: np.uint32, 4: np.complex128}  # as wide as four voxels of so many bytes


@dataclass(frozen=True)
class _Answer:
    """What is asked of the forest: ``evaluate`` gives (n, m, 64) for bricks, its m rows are the
    ``channels`` of ``array``, (channels, z, y, x) of the core, which starts as zeros."""

    evaluate: Callable[[NDArray[np.float32]], NDArray[Any]]
    channels: list[int]
    array: NDArray[Any]
    of_constant: dict[bytes, NDArray[Any]]


class NativeEngine:
    """Probabilities of one classifier for volumes of one shape.

    Buffers are kept between calls: one call at a time per instance. The result is the same, bit for
    bit, for every number of threads and every way of cutting the volume.
    """

    name = "native"
    version = NATIVE_VERSION

    def __init__(
        self, passport: Passport, forests: tuple[Forest, ...], volume_shape: Index, threads: int
    ) -> None:
        own = forests[-passport.forests :]
        self._first = (
            NativeEngine(passport.first, forests[: -len(own)], volume_shape, threads)
            if passport.first is not None
            else None
        )
        self.labels = passport.labels
        self._known = [label - 1 for label in passport.known_labels]
        self._halo = passport.reach_for(volume_shape)
        features = passport.features_for(volume_shape)
        used = {
            column for forest in own for column in np.bincount(forest.column).nonzero()[0].tolist()
        }
        self._threads = max(1, threads)
        self._integer = self._per_thread(features, passport.inputs, used)
        # A NaN counts wherever any feature sees it, whether or not the forest looks at that one.
        self._float = self._per_thread(features, passport.inputs, None)
        self._forest = BrickForest(own)
        self._label_of = np.ones(256, np.uint8)
        self._label_of[: len(self._known)] = passport.known_labels
        self._constant_probabilities: dict[bytes, NDArray[Any]] = {}
        self._constant_labels: dict[bytes, NDArray[Any]] = {}

    def _per_thread(
        self, features: tuple[Feature, ...], channels: int, used: set[int] | None
    ) -> list[BrickFeatures]:
        return [BrickFeatures(features, channels, used) for _ in range(self._threads)]

    def predict(self, raw: NDArray[Any], core: Box) -> NDArray[np.float32]:
        """Probabilities (K, z, y, x), float32, of ``core`` (in voxels of ``raw``).

        raw: (z, y, x, c), uint8, uint16 or float32; beyond its faces it is mirrored without
        repeating the edge, so it must reach a halo around the core or the faces of the volume.
        """
        out = np.zeros((len(self.labels), *core.shape), np.float32)
        self._fill(
            _Answer(self._forest.predict, self._known, out, self._constant_probabilities), raw, core
        )
        return out

    def predict_all(
        self, tiles: Sequence[tuple[NDArray[Any], Box]]
    ) -> Generator[NDArray[np.float32], None, None]:
        """``predict`` of each, one after the other."""
        return (self.predict(raw, core) for raw, core in tiles)

    def predict_labels(self, raw: NDArray[Any], core: Box) -> NDArray[np.uint8]:
        """``hard_labels(predict(raw, core))``, (z, y, x), in less time."""
        out = np.zeros((1, *core.shape), np.uint8)
        self._fill(_Answer(self._label, [0], out, self._constant_labels), raw, core)
        labels: NDArray[np.uint8] = out[0]
        return labels

    def _label(self, bricks: NDArray[np.float32]) -> NDArray[np.uint8]:
        labels: NDArray[np.uint8] = self._label_of.take(self._forest.winners(bricks), mode="clip")
        return labels[:, None]

    def _fill(self, answer: _Answer, raw: NDArray[Any], core: Box) -> None:
        if self._first is not None:
            z, y, x, _ = raw.shape
            box = core.grown(self._halo, (z, y, x))
            maps = _as_channels(self._first.predict(raw, box), raw.dtype)
            raw, core = np.concatenate([raw[box.slices], maps], axis=-1), core.relative_to(box.lo)
        free: SimpleQueue[BrickFeatures] = SimpleQueue()
        for features in self._float if raw.dtype.kind == "f" else self._integer:
            free.put(features)

        def work(piece: Box) -> None:
            part = answer.array[:, *piece.relative_to(core.lo).slices]
            features = free.get()
            try:
                self._fill_piece(replace(answer, array=part), features, raw, piece)
            finally:
                free.put(features)

        pieces = _pieces(core, self._threads)
        if self._threads == 1:
            for piece in pieces:
                work(piece)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(work, pieces):
                pass

    def _fill_piece(
        self, answer: _Answer, features: BrickFeatures, raw: NDArray[Any], piece: Box
    ) -> None:
        z, y, x, _ = raw.shape
        box = piece.grown(self._halo, (z, y, x))
        seen = raw[box.slices]
        if _is_constant(seen):
            value = self._of_constant(answer, features, seen[0, 0, 0])
            answer.array[answer.channels] = value[:, None, None, None]
            return
        _, ny, nx = piece.shape
        for z, planes, bricks in features.slabs(seen, piece.relative_to(box.lo)):
            found = answer.evaluate(bricks)
            raster = _raster(found, ceil(planes / 4), ceil(ny / 4), ceil(nx / 4))
            for channel, plane in zip(answer.channels, raster, strict=True):
                answer.array[channel, z : z + planes] = plane[:planes, :ny, :nx]

    def _of_constant(
        self, answer: _Answer, features: BrickFeatures, value: NDArray[Any]
    ) -> NDArray[Any]:
        """The answer (m,) for a voxel that sees only ``value`` (one number per channel).

        Filters do the same arithmetic everywhere, so one voxel speaks for all of an empty region.
        """
        key = value.tobytes()
        if key not in answer.of_constant:
            z, y, x = self._halo
            raw = np.empty((2 * z + 1, 2 * y + 1, 2 * x + 1, len(value)), value.dtype)
            raw[:] = value
            centre = Box((z, y, x), (z + 1, y + 1, x + 1))
            for _, _, bricks in features.slabs(raw, centre):
                answer.of_constant[key] = answer.evaluate(bricks)[0, :, 0]
        return answer.of_constant[key]


def _as_channels(probabilities: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """(z, y, x, K) of a volume's type: of integers, the whole range, cut off and not rounded."""
    channels = np.moveaxis(probabilities, 0, -1)
    if dtype.kind == "f":
        return channels.astype(dtype)
    return (np.float32(np.iinfo(dtype).max) * channels).astype(dtype)


def _raster(bricks: NDArray[Any], layers: int, rows: int, line: int) -> NDArray[Any]:
    """(m, z, y, x) of bricks (n, m, 64) that lie in raster order; n = layers * rows * line.

    The four voxels of a brick's row stay together: moved as one number they cost a fraction.
    """
    m = bricks.shape[1]
    fours: NDArray[Any] = bricks.view(_FOUR[bricks.dtype.itemsize]).reshape(
        layers, rows, line, m, 4, 4
    )
    lines = np.ascontiguousarray(fours.transpose(3, 0, 4, 1, 5, 2))
    return lines.reshape(m, layers * 4, rows * 4, line).view(bricks.dtype)


def _is_constant(raw: NDArray[Any]) -> bool:
    """Whether all voxels (z, y, x, c) hold the same numbers. NaN is never the same."""
    first = raw[0, 0, 0]
    return all(bool(np.all(plane == first)) for plane in raw)


def _pieces(core: Box, threads: int) -> list[Box]:
    """``core`` cut into columns along z, about _SIDE wide, and at least one for each thread.

    z stays whole where it can: features move along it in slabs, and a cut costs a halo.
    """
    nz, ny, nx = core.shape
    counts = [1, ceil(ny / _SIDE), ceil(nx / _SIDE)]
    while counts[0] * counts[1] * counts[2] < threads:
        sides = [ceil(n / c) for n, c in zip((nz, ny, nx), counts, strict=True)]
        longest = max((1, 2, 0), key=lambda axis: sides[axis])
        if sides[longest] <= 16:
            break
        counts[longest] += 1
    # Multiples of 4, so that bricks are full wherever they can be.
    chunk = [4 * ceil(ceil(n / c) / 4) for n, c in zip((nz, ny, nx), counts, strict=True)]
    return list(core.blocks((chunk[0], chunk[1], chunk[2])))
