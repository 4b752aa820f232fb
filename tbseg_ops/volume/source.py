"""What a volume is, whatever file it comes from, and how it is read.

Arrays are always 4D, axes z, y, x, c with c >= 1, C-contiguous, in native byte order.
"""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box

if TYPE_CHECKING:  # this module is loaded by whoever only names a volume
    from numpy.typing import NDArray

VoxelType = Literal["uint8", "uint16", "float32"]
Kind = Literal[
    "tiff-stack", "tiff-file", "hdf5", "imaris", "bigdataviewer", "zarr", "ome-zarr", "n5"
]
VOXEL_TYPES: dict[VoxelType, int] = {"uint8": 1, "uint16": 2, "float32": 4}
"""Bytes of a voxel of each type."""


class VolumeInfo(BaseModel):
    """Shape (z, y, x), number of channels, dtype; voxel size in (z, y, x), None where not stored.

    ``unit`` is the unit of ``voxel_size``: "um" where the file says so in any of its spellings,
    the file's own word otherwise, None when it has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    shape: tuple[int, int, int]
    channels: int = Field(ge=1)
    dtype: VoxelType
    voxel_size: tuple[float, float, float] | None = None
    unit: str | None = None
    kind: Kind

    @property
    def slice_bytes(self) -> int:
        """Bytes of one decoded slice with all of its channels."""
        return self.shape[1] * self.shape[2] * self.channels * VOXEL_TYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole decoded volume."""
        return self.shape[0] * self.slice_bytes


@dataclass(frozen=True, slots=True)
class Pixels:
    """Where the pixels of some slices begin in their files, in C order, and numpy's name of their
    type there, byte order included."""

    offsets: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Slices:
    """Some slices: ``array`` (z, y, x, c), and one fingerprint per slice of the very same bytes.

    ``pixels``: None unless all of them lie as they are in their files.
    """

    array: "NDArray[Any]"
    fingerprints: tuple[str, ...]
    pixels: Pixels | None = None


class Source(AbstractContextManager["Source"]):
    """An audited volume. All methods may be called from several threads.

    ``slices`` names each z for messages; ``warnings`` are for whoever has to trust the result;
    ``layers``: so many slices are decoded together, from z = 0 on. ``is_plain``: ``read`` gives the
    ``pixels`` of any slices, so that a run can refer to them; then it is an ``InFiles``.
    Both methods raise InputError when a slice is not what it was at the audit or does not decode,
    ResourceError when the disk fails, IndexError for a range outside ``0 <= z0 < z1 <= z``.
    """

    info: VolumeInfo
    slices: Sequence[str]
    warnings: Sequence[str] = ()
    layers: int = 1
    is_plain: bool = False

    @abstractmethod
    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """The slices ``z0 <= z < z1``, and the fingerprints of the bytes they came from.

        ``planned``: the fingerprints of all slices in a plan; InputError if one has changed since.
        A slice that is a file of its own is then not decoded.
        """

    def window(self, box: Box) -> "NDArray[Any]":
        """The voxels (z, y, x, c) of ``box``, which lies in the volume; errors as ``read``.

        Slice by slice, since one may be large; where less can be decoded, only what is needed.
        """
        import numpy as np

        _, rows, columns = box.slices
        return np.concatenate(
            [self.read(z, z + 1).array[:, rows, columns] for z in range(box.lo[0], box.hi[0])]
        )

    @abstractmethod
    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """The same fingerprints as ``read`` gives: sha256, in hex, one per slice."""

    def close(self) -> None:
        """Releases what is open. May be called twice."""

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check_planned(self, z: int, found: str, planned: Sequence[str] | None) -> None:
        if planned is not None and found != planned[z]:
            raise InputError(
                "the input changed since the plan was made",
                file=self.slices[z],
                expected=f"content {planned[z][:16]}",
                found=f"content {found[:16]}",
                mend="make the plan again (tbseg plan, or the task plan)",
            )


class InFiles(Source):
    """Slices that lie in files, each in one: of its own, or with others."""

    @abstractmethod
    def path(self, z: int) -> str:
        """Of the file that a slice lies in."""

    @abstractmethod
    def open(self, z: int) -> BinaryIO:
        """That file, to read pixels where they were found: see ``Pixels``."""


def pixels_of(places: Sequence[tuple[int, str] | None]) -> Pixels | None:
    """Of some slices, if the place and type of each is known, and all are of one type."""
    found = [place for place in places if place is not None]
    types = {dtype for _, dtype in found}
    if len(found) < len(places) or len(types) != 1:
        return None
    return Pixels(tuple(offset for offset, _ in found), types.pop())


def check_same_volume(found: VolumeInfo, info: VolumeInfo, volume: str) -> None:
    """InputError unless shape, channels and dtype are those of a plan's ``info``."""
    if (found.shape, found.channels, found.dtype) != (info.shape, info.channels, info.dtype):
        raise InputError(
            "the input changed since the plan was made",
            file=volume,
            expected=f"shape {info.shape} (z, y, x), {info.channels} channels, {info.dtype}",
            found=f"shape {found.shape}, {found.channels} channels, {found.dtype}",
            mend="make the plan again (tbseg plan, or the task plan)",
        )


def check_range(z0: int, z1: int, depth: int) -> None:
    """IndexError unless ``0 <= z0 < z1 <= depth``."""
    if not 0 <= z0 < z1 <= depth:
        raise IndexError(f"slices {z0}:{z1} of a volume of {depth}")
