"""The engine ``native``: ilastik's features and random forest without ilastik."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.engine import NATIVE_VERSION
from tbseg_ops.classifier.features import BrickFeatures
from tbseg_ops.classifier.forest import BrickForest
from tbseg_ops.classifier.passport import Passport
from tbseg_ops.classifier.trees import Forest
from tbseg_ops.geometry import Box, Index

_SIDE = 128


class NativeEngine:
    """Probabilities of one classifier for volumes of one shape.

    Buffers are kept between calls: one call of ``predict`` at a time per instance. The result is
    the same, bit for bit, for every number of threads and every way of cutting the volume.
    """

    name = "native"
    version = NATIVE_VERSION

    def __init__(
        self, passport: Passport, forests: tuple[Forest, ...], volume_shape: Index, threads: int
    ) -> None:
        self.labels = passport.labels
        self._known = [label - 1 for label in passport.known_labels]
        self._halo = passport.halo_for(volume_shape)
        features = passport.features_for(volume_shape)
        self._features = [
            BrickFeatures(features, passport.channels) for _ in range(max(1, threads))
        ]
        self._forest = BrickForest(forests)
        self._of_constant: dict[bytes, NDArray[np.float32]] = {}

    def predict(self, raw: NDArray[Any], core: Box) -> NDArray[np.float32]:
        """Probabilities (K, z, y, x), float32, of ``core`` (in voxels of ``raw``).

        raw: (z, y, x, c), uint8, uint16 or float32; beyond its faces it is mirrored without
        repeating the edge, so it must reach a halo around the core or the faces of the volume.
        """
        out = np.zeros((len(self.labels), *core.shape), np.float32)
        pieces = iter(_pieces(core, len(self._features)))
        if len(self._features) == 1:
            self._work(self._features[0], pieces, Lock(), raw, core, out)
            return out
        lock = Lock()
        with ThreadPoolExecutor(len(self._features)) as pool:
            jobs = [
                pool.submit(self._work, features, pieces, lock, raw, core, out)
                for features in self._features
            ]
        for job in jobs:
            job.result()
        return out

    def _work(
        self,
        features: BrickFeatures,
        pieces: Iterator[Box],
        lock: Lock,
        raw: NDArray[Any],
        core: Box,
        out: NDArray[np.float32],
    ) -> None:
        """Take pieces until none is left; each writes its own part of ``out``."""
        while True:
            with lock:
                piece = next(pieces, None)
            if piece is None:
                return
            self._predict_piece(features, raw, piece, out[:, *piece.relative_to(core.lo).slices])

    def _predict_piece(
        self, features: BrickFeatures, raw: NDArray[Any], piece: Box, out: NDArray[np.float32]
    ) -> None:
        z, y, x, _ = raw.shape
        box = piece.grown(self._halo, (z, y, x))
        seen = raw[box.slices]
        if _is_constant(seen):
            out[:] = self._predict_constant(features, seen[0, 0, 0])[:, None, None, None]
            return
        _, ny, nx = piece.shape
        for z, planes, bricks in features.slabs(seen, piece.relative_to(box.lo)):
            votes = self._forest.predict(bricks)
            layers, rows, line = ceil(planes / 4), ceil(ny / 4), ceil(nx / 4)
            raster = votes.reshape(layers, rows, line, self._forest.classes, 4, 4, 4)
            raster = raster.transpose(3, 0, 4, 1, 5, 2, 6).reshape(
                self._forest.classes, layers * 4, rows * 4, line * 4
            )
            for channel, plane in zip(self._known, raster, strict=True):
                out[channel, z : z + planes] = plane[:planes, :ny, :nx]

    def _predict_constant(
        self, features: BrickFeatures, value: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Probabilities (K,) of a voxel that sees only ``value`` (one number per channel).

        Filters do the same arithmetic everywhere, so one voxel speaks for all of an empty region.
        """
        key = value.tobytes()
        if key not in self._of_constant:
            z, y, x = self._halo
            raw = np.empty((2 * z + 1, 2 * y + 1, 2 * x + 1, len(value)), value.dtype)
            raw[:] = value
            probabilities = np.zeros(len(self.labels), np.float32)
            for _, _, bricks in features.slabs(raw, Box((z, y, x), (z + 1, y + 1, x + 1))):
                probabilities[self._known] = self._forest.predict(bricks)[0, :, 0]
            self._of_constant[key] = probabilities
        return self._of_constant[key]


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
