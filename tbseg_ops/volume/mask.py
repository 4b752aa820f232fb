"""A mask for a volume: it may be coarser than that, or one plane for all slices."""

import hashlib
from collections.abc import Sequence
from math import ceil

import numpy as np

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Index
from tbseg_ops.volume.channels import Made
from tbseg_ops.volume.source import Slices, Source, check_range


class FittedMask(Made):
    """A mask of the voxels of a volume, each that of the mask's voxel it lies in.

    Arrays are (z, y, x, 1), uint8: 1 where the mask is not 0, whatever its type. ``slices`` has the
    name of a plane for each slice of the volume that the plane stands for.
    """

    def __init__(self, source: Source, factors: Index, shape: Index) -> None:
        """``factors`` (z, y, x): voxels of the volume along a side of the mask's voxel."""
        super().__init__(source)
        self._factors = factors
        self._planes, self._rows, self._columns = (
            np.arange(n) // f for n, f in zip(shape, factors, strict=True)
        )
        self.slices: Sequence[str] = tuple(source.slices[int(i)] for i in self._planes)
        self.warnings: Sequence[str] = ()

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``."""
        check_range(z0, z1, len(self._planes))
        first, last = int(self._planes[z0]), int(self._planes[z1 - 1])
        found = self._sources[0].read(first, last + 1)
        planes = self._planes[z0:z1] - first
        digests = tuple(self._digest(found.fingerprints[i]) for i in planes)
        for z, digest in enumerate(digests, start=z0):
            self._check_planned(z, digest, planned)
        inside = (found.array[..., :1] != 0).astype(np.uint8)
        if self._factors[1:] != (1, 1):
            inside = inside[:, self._rows][:, :, self._columns]
        return Slices(inside[planes], digests)

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """See ``Source.fingerprints``."""
        check_range(z0, z1, len(self._planes))
        first, last = int(self._planes[z0]), int(self._planes[z1 - 1])
        found = self._sources[0].fingerprints(first, last + 1)
        return tuple(self._digest(found[i - first]) for i in self._planes[z0:z1])

    def _digest(self, plane: str) -> str:
        if self._factors == (1, 1, 1):
            return plane
        return hashlib.sha256(f"{plane} {self._factors}".encode()).hexdigest()


def fitting(mask: Index, shape: Index) -> Index | None:
    """Voxels of a volume of ``shape`` along each side of a mask's voxel; None if it does not fit.

    A single plane stands for all slices.
    """
    factors = [_factor(n, m) for n, m in zip(shape, mask, strict=True)]
    if mask[0] == 1:
        factors[0] = shape[0]
    z, y, x = factors
    return None if z is None or y is None or x is None else (z, y, x)


def _factor(n: int, m: int) -> int | None:
    """How many of ``n`` voxels lie in each of ``m`` (the last may hold fewer), if that is clear."""
    if m == n:
        return 1
    if m < 2 or m > n // 2 + 1:
        return None
    if n % m == 0:
        return n // m
    found = [f for f in range(2, ceil(n / (m - 1))) if ceil(n / f) == m]
    return found[0] if len(found) == 1 else None


def fitted(source: Source, shape: Index, where: str) -> FittedMask:
    """``source``, a mask, for a volume of ``shape``; InputError names both shapes if it is none."""
    info = source.info
    factors = fitting(info.shape, shape)
    if factors is None or info.channels != 1:
        raise InputError(
            "the mask does not fit the volume",
            file=where,
            expected=f"shape {shape} (z, y, x), coarser by whole factors, or one plane; 1 channel",
            found=f"shape {info.shape}, {info.channels} channel(s)",
            mend="give a mask of the volume's own size, 0 where nothing is to be computed",
        )
    mask = FittedMask(source, factors, shape)
    if info.shape[0] == 1 < shape[0]:
        mask.warnings = (f"the mask is one plane: it counts for all {shape[0]} slices",)
    if max(factors[1:]) > 1 or (info.shape[0] > 1 and factors[0] > 1):
        by = " x ".join(map(str, factors))
        mask.warnings = (
            *mask.warnings,
            f"the mask of {info.shape} voxels is coarser than the volume: one of its voxels stands"
            f" for {by} (z, y, x)",
        )
    unwritten = [text for text in source.warnings if "never written" in text]
    mask.warnings = (*mask.warnings, *unwritten)
    return mask
