"""HDF5 files that tbseg makes: whole images in memory, recognised by what they hold.

A file made in memory and written by one system call chain either is whole or is not there, and a
full disk is an ordinary error instead of a crash inside the HDF5 library.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import IntegrityError, TbsegError
from tbseg_ops.hdf5.arms_length import damage
from tbseg_ops.settings import check_opened
from tbseg_ops.storage.commit import errno_of, storage_errors

# Readable by HDF5 1.10 and later (napari, Fiji, ilastik), virtual datasets included.
LIBVER = ("v110", "v110")

# System errors that a damaged or missing file gives; others are the file system's or the rights'.
_DAMAGE = {None, errno.ENOENT, errno.EIO}

# What h5py raises when a file is damaged.
_BY_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, SystemError)


def image_of(fill: Callable[[h5py.File], None], libver: tuple[str, str] = LIBVER) -> bytes:
    """The bytes of the HDF5 file that ``fill`` writes: the same bytes for the same calls."""
    with h5py.File(
        "image", "w", driver="core", backing_store=False, block_size=1 << 22, libver=libver
    ) as file:
        fill(file)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def content_of(file: h5py.File) -> str:
    """SHA-256 (hex) over the decoded datasets of a file: names, dtypes, shapes and voxels.

    Without those whose voxels are in other files (``run.referred``): none of these is opened.
    """
    datasets: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: _collect(datasets, name, item))
    digest = hashlib.sha256()
    for name, dataset in sorted(datasets):
        _update(digest, name, dataset[()])
    return digest.hexdigest()


def content_of_arrays(arrays: dict[str, NDArray[np.generic]]) -> str:
    """What ``content_of`` gives for a file with these datasets (name: array)."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        _update(digest, name, arrays[name])
    return digest.hexdigest()


def stamp(file: h5py.File, **values: object) -> None:
    """Write attributes that tbseg itself reads again.

    Text has a fixed length: HDF5 can hang on text of variable length whose heap is damaged.
    """
    for name, value in values.items():
        file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def stamped(file: h5py.File, name: str) -> str:
    """A text that ``stamp`` wrote; "" if there is none."""
    value = file.attrs.get(name, b"")
    return value.decode("ascii", "replace") if isinstance(value, bytes) else ""


def count_not_finite(array: NDArray[np.generic]) -> int:
    """Number of NaN and infinite values; 0 for integers."""
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0


def _update(digest: "hashlib._Hash", name: str, array: NDArray[np.generic]) -> None:
    digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
    digest.update(np.ascontiguousarray(array).data)


def _collect(found: list[tuple[str, h5py.Dataset]], name: str, item: object) -> None:
    if isinstance(item, h5py.Dataset) and not item.external:
        found.append((name, item))


def axistags(axes: str, voxel_size: tuple[float, float, float] | None = None) -> str:
    """The JSON by which ilastik and vigra know the axes ("zyx" or "zyxc") of a dataset."""
    size = dict(zip("zyx", voxel_size or (0.0, 0.0, 0.0), strict=True))
    return json.dumps(
        {
            "axes": [
                {
                    "key": axis,
                    "typeFlags": 1 if axis == "c" else 2,
                    "resolution": size.get(axis, 0.0),
                    "description": "",
                }
                for axis in axes
            ]
        }
    )


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A file of this run for reading, after another process has looked at it.

    IntegrityError if it is missing or is found to be damaged, when opened or while it is read in
    the body. ConfigError or ResourceError if it may be whole but cannot be reached.
    """
    if (found := damage(path)) is not None:
        raise _damaged(path, found)
    try:
        with h5py.File(path, "r", locking=False) as file:
            check_opened(file.id.get_vfd_handle(), path)
            yield file
    except TbsegError:
        raise
    except _BY_DAMAGE as error:
        if isinstance(error, OSError | RuntimeError) and errno_of(error) not in _DAMAGE:
            with storage_errors(path):
                raise
        found = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise _damaged(path, found) from error


def _damaged(path: Path, found: str) -> IntegrityError:
    return IntegrityError(
        "a file of this run is missing or damaged",
        file=path,
        found=found,
        mend="give the command again: what is damaged is made anew",
    )
