"""The reference sets: volumes, classifiers and what ilastik made of them (reference/README.md)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

REFERENCE = Path(__file__).parent / "reference"


@dataclass(frozen=True)
class ReferenceSet:
    """``size``: "" for the volume of the set's own, "_128" for the larger one some sets have."""

    name: str
    size: str = ""
    volume_of: str | None = None

    def __str__(self) -> str:
        return self.name + self.size

    @property
    def folder(self) -> Path:
        return REFERENCE / self.name

    @property
    def classifier(self) -> Path:
        return self.folder / "classifier.ilp"

    @property
    def volume(self) -> Path:
        return REFERENCE / (self.volume_of or self.name) / f"volume{self.size}.h5"

    def raw(self) -> NDArray[Any]:
        """(z, y, x, c), as stored."""
        with h5py.File(self.volume) as file:
            raw = file["data"][()]
        return raw if raw.ndim == 4 else raw[..., None]

    def labels(self) -> NDArray[np.uint8]:
        """ilastik's simple segmentation, (z, y, x), 1-based; by its rule where it is not stored."""
        if not (self.folder / f"labels{self.size}.h5").exists():
            return (self.probabilities().argmax(axis=0) + 1).astype(np.uint8)
        with h5py.File(self.folder / f"labels{self.size}.h5") as file:
            return file["exported_data"][..., 0]

    def probabilities(self) -> NDArray[np.float32]:
        """ilastik's probabilities, (K, z, y, x), bit for bit."""
        with h5py.File(self.folder / f"probabilities{self.size}.h5") as file:
            near = file["percent"][()].astype(np.float32) / np.float32(100)
            steps = file["ulps"][()].astype(np.int32)
        return (near.view(np.int32) + steps).view(np.float32)


SMALL = (
    ReferenceSet("vessels-3d"),
    ReferenceSet("vessels-2d"),
    ReferenceSet("vessels-all-features"),
    ReferenceSet("two-channel"),
    ReferenceSet("label-gap"),
)
LARGE = (
    ReferenceSet("nuclei"),
    ReferenceSet("vessels-3d", "_128"),
    ReferenceSet("vessels-all-features", "_128", volume_of="vessels-3d"),
)
CLASSIFIERS = (*SMALL, LARGE[0])
