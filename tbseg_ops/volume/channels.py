"""Volumes made of others: one channel of many, several volumes as channels, z the other way."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box
from tbseg_ops.volume.source import Slices, Source, VolumeInfo


class Made(Source):
    """A source made of others: it closes them."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources
        self.layers = max(source.layers for source in sources)

    def close(self) -> None:
        for source in self._sources:
            source.close()


class OneChannel(Made):
    """A channel of a volume. Its fingerprints are those of the whole slices."""

    def __init__(self, source: Source, channel: int, where: str) -> None:
        super().__init__(source)
        self._channel = channel
        self.slices, self.warnings = source.slices, source.warnings
        if not hasattr(source, "info"):  # files of a plan, of which the channel was looked at then
            return
        if channel >= source.info.channels:
            raise InputError(
                "the volume has no such channel",
                file=where,
                expected=f"--channel 0 to --channel {source.info.channels - 1}",
                found=f"--channel {channel}",
                mend="give one of these",
            )
        self.info = source.info.model_copy(update={"channels": 1})

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        (source,) = self._sources
        found = source.read(z0, z1, planned)
        one = np.ascontiguousarray(found.array[..., self._channel : self._channel + 1])
        return Slices(one, found.fingerprints)

    def window(self, box: Box) -> NDArray[Any]:
        whole = self._sources[0].window(box)
        return np.ascontiguousarray(whole[..., self._channel : self._channel + 1])

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        return self._sources[0].fingerprints(z0, z1)


class Reversed(Made):
    """A volume whose last slice comes first."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.slices, self.warnings = tuple(reversed(source.slices)), source.warnings
        if hasattr(source, "info"):
            self.info = source.info

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        (source,), n = self._sources, len(self.slices)
        there = None if planned is None else tuple(reversed(planned))
        found = source.read(n - z1, n - z0, there)
        return Slices(np.ascontiguousarray(found.array[::-1]), found.fingerprints[::-1])

    def window(self, box: Box) -> NDArray[Any]:
        n = len(self.slices)
        (_, *lo), (_, *hi) = box.lo, box.hi
        there = Box((n - box.hi[0], lo[0], lo[1]), (n - box.lo[0], hi[0], hi[1]))
        return np.ascontiguousarray(self._sources[0].window(there)[::-1])

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        n = len(self.slices)
        return self._sources[0].fingerprints(n - z1, n - z0)[::-1]


class Joined(Made):
    """Volumes of one shape, the channels of the first one first.

    The fingerprint of a slice is the digest of those of all volumes.
    """

    def __init__(self, sources: Sequence[Source], names: Sequence[str]) -> None:
        super().__init__(*sources)
        first = sources[0]
        self.slices = first.slices
        self.warnings = tuple(dict.fromkeys(text for s in sources for text in s.warnings))
        for source, name in zip(sources, names, strict=True):
            _check_alike(first, source, names[0], name)
        if hasattr(first, "info"):
            self.info = _joined([source.info for source in sources])

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        parts = [source.read(z0, z1) for source in self._sources]
        found = _digests([part.fingerprints for part in parts])
        for z, fingerprint in enumerate(found, start=z0):
            self._check_planned(z, fingerprint, planned)
        return Slices(_side_by_side([part.array for part in parts]), found)

    def window(self, box: Box) -> NDArray[Any]:
        return _side_by_side([source.window(box) for source in self._sources])

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        return _digests([source.fingerprints(z0, z1) for source in self._sources])


def _side_by_side(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(z, y, x, c) of volumes that are channels."""
    return np.concatenate(parts, axis=3, dtype=np.result_type(*parts))


def _digests(found: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(
        hashlib.sha256(" ".join(each).encode()).hexdigest() for each in zip(*found, strict=True)
    )


def _joined(infos: Sequence[VolumeInfo]) -> VolumeInfo:
    return infos[0].model_copy(update={"channels": sum(info.channels for info in infos)})


def _check_alike(first: Source, other: Source, name: str, where: str) -> None:
    there = [f"{len(source.slices)} slices" for source in (first, other)]
    if there[0] == there[1] and hasattr(first, "info") and hasattr(other, "info"):
        there = [f"shape {s.info.shape} (z, y, x), {s.info.dtype}" for s in (first, other)]
    if there[0] != there[1]:
        raise InputError(
            "the volumes that are to be channels differ",
            file=where,
            expected=f"{there[0]}, as {name}",
            found=there[1],
            mend="give volumes of one shape and type",
        )
