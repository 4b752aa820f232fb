"""What a volume is, whatever file it comes from, and how it is read.

Arrays are always 4D, axes z, y, x, c with c >= 1, C-contiguous, in native byte order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # this module is loaded by whoever only names a volume
    from numpy.typing import NDArray

VoxelType = Literal["uint8", "uint16", "float32"]
VOXEL_TYPES: dict[VoxelType, int] = {"uint8": 1, "uint16": 2, "float32": 4}
"""Bytes of a voxel of each type."""


class VolumeInfo(BaseModel):
    """Shape (z, y, x), number of channels, dtype; voxel size in (z, y, x), None where not stored.

    ``unit`` is the unit of ``voxel_size``: "um" where the file says so in any of its spellings,
    the file's own word otherwise, None when it has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int]
    channels: int = Field(ge=1)
    dtype: VoxelType
    voxel_size: tuple[float, float, float] | None = None
    unit: str | None = None
    kind: Literal["tiff-stack", "tiff-file", "hdf5"]

    @property
    def slice_bytes(self) -> int:
        """Bytes of one decoded slice with all of its channels."""
        return self.shape[1] * self.shape[2] * self.channels * VOXEL_TYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole decoded volume."""
        return self.shape[0] * self.slice_bytes


@dataclass(frozen=True, slots=True)
class Slices:
    """Some slices: ``array`` (z, y, x, c), and one fingerprint per slice of the very same bytes."""

    array: "NDArray[Any]"
    fingerprints: tuple[str, ...]


class Source(Protocol):
    """An audited volume. A context manager; all methods may be called from several threads.

    ``slices`` names each z for messages; ``warnings`` are for whoever has to trust the result.
    Both methods raise InputError when a slice is not what it was at the audit or does not decode,
    ResourceError when the disk fails, IndexError for a range outside ``0 <= z0 < z1 <= z``.
    """

    @property
    def info(self) -> VolumeInfo: ...

    @property
    def slices(self) -> Sequence[str]: ...

    @property
    def warnings(self) -> Sequence[str]: ...

    def read(self, z0: int, z1: int) -> Slices:
        """The slices ``z0 <= z < z1``, and the fingerprints of the bytes they came from."""

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """The same fingerprints as ``read`` gives: sha256, in hex, one per slice."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Closing:
    """Makes a source a context manager; the sources that keep no file open need nothing else."""

    def close(self) -> None:
        """Releases what is open. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_range(z0: int, z1: int, depth: int) -> None:
    """IndexError unless ``0 <= z0 < z1 <= depth``."""
    if not 0 <= z0 < z1 <= depth:
        raise IndexError(f"slices {z0}:{z1} of a volume of {depth}")
