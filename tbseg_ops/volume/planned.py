"""A volume as a plan knows it: its slices are read only if they are still those of the plan.

The audit was the plan's; no worker makes it again. A slice that is a file of its own is opened when
it is read, once; its bytes must have the planned digest before they are decoded, and they are
decoded by the same strict rules as in the audit.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.volume.opening import existing, found_slices, open_source
from tbseg_ops.volume.source import Source, VoxelType, check_range
from tbseg_ops.volume.stack import decode_slice, read_slice


@dataclass(frozen=True, slots=True)
class PlannedVolume:
    """``shape``: (z, y, x, c); ``dtype`` None: any, of a mask. Made by ``open_planned``.

    ``slices`` and ``fingerprints``: one for each z. ``opened``: the folder of the slice files, or
    the source of a volume that is one file.
    """

    slices: Sequence[str]
    fingerprints: Sequence[str]
    shape: tuple[int, int, int, int]
    dtype: VoxelType | None
    opened: str | Source

    def read(self, z0: int, z1: int) -> NDArray[Any]:
        """The slices ``z0 <= z < z1``: (z, y, x, c), C-contiguous.

        InputError if one is not what it was when the plan was made; IndexError for a range outside
        of the volume.
        """
        check_range(z0, z1, self.shape[0])
        if isinstance(self.opened, str):
            return self._read_files(self.opened, z0, z1)
        part = self.opened.read(z0, z1)
        for z, found in enumerate(part.fingerprints, start=z0):
            self._check(z, found)
        self._check_kind(z0, part.array[0])
        return part.array

    def _read_files(self, folder: str, z0: int, z1: int) -> NDArray[Any]:
        header, array = None, np.empty(0)
        for z in range(z0, z1):
            path = str(Path(folder) / self.slices[z])
            content = read_slice(path)
            self._check(z, hashlib.sha256(content).hexdigest())
            header, pixels = decode_slice(content, path, header)
            if z == z0:
                self._check_kind(z, pixels)
                array = np.empty((z1 - z0, *pixels.shape), pixels.dtype)
            array[z - z0] = pixels
        return array

    def _check(self, z: int, found: str) -> None:
        if found != self.fingerprints[z]:
            planned = self.fingerprints[z]
            raise self.changed(z, f"content {planned[:16]}", f"content {found[:16]}")

    def _check_kind(self, z: int, plane: NDArray[Any]) -> None:
        """The plan's shape is that of the first slice, which may have changed before its digest."""
        if plane.shape != self.shape[1:] or self.dtype not in (None, plane.dtype.name):
            planned = f"{self.shape[1:]} {self.dtype or ''}"
            raise self.changed(z, planned, f"{plane.shape} {plane.dtype}")

    def changed(self, z: int, expected: str, found: str) -> InputError:
        """The refusal of slice ``z``, to be raised by the caller."""
        return InputError(
            "the input changed since the plan was made",
            file=self.slices[z],
            expected=expected,
            found=found,
            mend="make the plan again (tbseg plan, or the task plan)",
        )


def open_planned(
    volume: str,
    slices: Sequence[str],
    fingerprints: Sequence[str],
    shape: tuple[int, int, int, int],
    dtype: VoxelType | None,
) -> PlannedVolume:
    """The volume of a plan; of a folder of slices, nothing is opened yet. See ``PlannedVolume``.

    InputError if it is not there or is another one; ConfigError outside of ``TBSEG_ROOTS``.
    """
    reference = existing(volume)
    opened: str | Source
    if reference.kind == "file":
        opened = open_source(volume)
        depth = opened.info.shape[0]
    else:
        opened = reference.file if reference.kind == "folder" else found_slices(reference)[0]
        depth = len(slices)
    planned = PlannedVolume(slices, fingerprints, shape, dtype, opened)
    if depth != shape[0]:
        raise planned.changed(0, f"{shape[0]} slices", f"{depth} slices")
    return planned
