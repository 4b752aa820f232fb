"""Tiny volumes and the files that hold them. Arrays are (z, y, x) or (z, y, x, c)."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 3},
    "tiles": {"tile": (16, 16)},
    "deflate": {"compression": "deflate", "rowsperstrip": 5},
    "lzw": {"compression": "lzw"},
    "zstd-tiles": {"compression": "zstd", "tile": (16, 16)},
    "packbits": {"compression": "packbits"},
    "lzma": {"compression": "lzma"},
    "big-endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "big-endian-bigtiff": {"byteorder": ">", "bigtiff": True, "compression": "deflate"},
}
"""Options of tifffile.imwrite that change how a page is stored, but not what it holds."""


def noise_volume(
    shape: tuple[int, ...] = (5, 20, 23), dtype: str = "uint8", seed: int = 0
) -> NDArray[Any]:
    """Uniform noise over the whole range of an integer type, standard normal for floats."""
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return random.standard_normal(shape).astype(kind)
    return random.integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def write_stack(
    folder: Path, volume: NDArray[Any], names: str = "img_{z}.tif", start: int = 0, **options: Any
) -> Path:
    """One TIFF file per slice, named ``names`` with z counted from ``start``; returns the folder.

    ``options`` go to tifffile.imwrite: see LAYOUTS. Slices (y, x, 3) are written as RGB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for z, plane in enumerate(volume, start):
        write_page(folder / names.format(z=z), plane, **options)
    return folder


def write_page(path: Path, plane: NDArray[Any], **options: Any) -> Path:
    """One slice (y, x) or (y, x, c) as a TIFF file of one page, without any description."""
    photometric = "rgb" if plane.ndim == 3 and plane.shape[-1] == 3 else "minisblack"
    choice = {"photometric": photometric, "metadata": None, **options}
    if plane.ndim == 3:
        choice.setdefault("planarconfig", "contig")
    tifffile.imwrite(path, plane, **choice)
    return path


def write_hdf5(
    path: Path, volume: NDArray[Any], dataset: str = "data", axes: str | None = None, **options: Any
) -> Path:
    """One dataset; ``axes`` (such as "zyxc") names those of ``volume`` in an attribute axistags."""
    with h5py.File(path, "w") as file:
        written = file.create_dataset(dataset, data=volume, **options)
        if axes is not None:
            written.attrs["axistags"] = axistags(axes)
    return path


def axistags(axes: str, resolution: float = 0) -> str:
    """vigra's JSON for the axes."""
    entries = [
        f'{{"key": "{axis}", "typeFlags": {1 if axis == "c" else 2},'
        f' "resolution": {resolution}, "description": ""}}'
        for axis in axes
    ]
    return f'{{"axes": [{", ".join(entries)}]}}'
