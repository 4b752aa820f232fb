"""The HDF5 files of a run: made as whole images in memory, recognised by what they hold.

A file made in memory and written by one system call chain either is whole or is not there, and a
full disk is an ordinary error instead of a crash inside the HDF5 library. Only the merged file is
too large for that.
"""

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import IntegrityError, TbsegError
from tbseg_ops.geometry import Box, Index
from tbseg_ops.run.commit import errno_of, storage_errors
from tbseg_ops.run.plan import Plan

RAW = "volume"  # the dataset of slabs, tiles and volume.h5
MASK = "mask"  # beside it, if the run has one: uint8, 0 where nothing is to be computed
LABELS = "labels"  # uint8, 1 for the first class; 0 outside of the mask

# Readable by HDF5 1.10 and later (napari, Fiji, ilastik), virtual datasets included.
LIBVER = ("v110", "v110")

# System errors that a damaged or missing file gives; others are the file system's or the rights'.
_DAMAGE = {None, errno.ENOENT, errno.EIO}

_GZIP_LEVEL = 1  # infra.md: compression is the cost of writing; higher levels gain little on masks


def image_of(fill: Callable[[h5py.File], None]) -> bytes:
    """The bytes of the HDF5 file that ``fill`` writes: the same bytes for the same calls."""
    with h5py.File(
        "image", "w", driver="core", backing_store=False, block_size=1 << 22, libver=LIBVER
    ) as file:
        fill(file)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def content_of(file: h5py.File) -> str:
    """SHA-256 (hex) over the decoded datasets of a file: names, dtypes, shapes and voxels."""
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
    if isinstance(item, h5py.Dataset):
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


def describe(dataset: h5py.Dataset, plan: Plan) -> None:
    """Write what other programs need to know of a dataset: axes and, where known, voxel size."""
    info = plan.volume
    dataset.attrs["axistags"] = axistags("zyxc"[: dataset.ndim], info.voxel_size)
    if info.voxel_size is not None:
        dataset.attrs["voxel_size"] = info.voxel_size
        dataset.attrs["voxel_size_unit"] = info.unit or ""
        if info.unit in ("um", "µm", "micron", "micrometer"):
            dataset.attrs["element_size_um"] = info.voxel_size  # the name that Fiji and napari read


def raw_shape(plan: Plan, box: Box) -> tuple[int, ...]:
    """Shape of raw data as it is stored: no channel axis where there is one channel only."""
    channels = plan.volume.channels
    return box.shape if channels == 1 else (*box.shape, channels)


def encoded(labels: tuple[str, ...]) -> tuple[str, ...]:
    """A dataset name for each label, distinct and reversible (``urllib.parse.unquote``).

    What HDF5 cannot hold in a name ("/", NUL, a lone ".") and "%" itself is percent-encoded.
    A label that is there twice gets its number behind "%23" ("#").
    """
    names: list[str] = []
    for number, label in enumerate(labels):
        name = "".join(
            quote(c, safe="", errors="surrogateescape") if c in "/%" or not c.isprintable() else c
            for c in label
        )
        if not name.strip("."):
            name = name.replace(".", "%2E") or "%20"
        names.append(f"{name}%23{number + 1}" if name in names else name)
    return tuple(names)


def output_names(plan: Plan) -> list[str]:
    """The datasets of a tile's class file and of the merged file, in the order of checking."""
    names = encoded(plan.classifier.labels)
    return [
        LABELS,
        *(f"classes/{name}" for name in names),
        *(f"probabilities/{names[i]}" for i in plan.probability_labels),
    ]


def create_outputs(file: h5py.File, plan: Plan, shape: Index) -> None:
    """Create the empty output datasets for a core or a volume of ``shape`` (z, y, x).

    Tiles and the merged file use the same chunks and filters: chunks are copied as they are.
    """
    labels, info = plan.classifier.labels, plan.volume
    names = encoded(labels)
    intensity = plan.spec.output == "intensity"

    def create(name: str, dtype: str, label: str | None, channels: int = 1) -> None:
        more = (channels,) if channels > 1 else ()
        dataset = file.create_dataset(
            name,
            shape=(*shape, *more),
            # A thin last core may be smaller than a chunk; HDF5 wants room for the chunk then.
            maxshape=tuple(
                None if n < c else n for n, c in zip(shape, plan.grid_model.chunk, strict=True)
            )
            + more,
            chunks=(*plan.grid_model.chunk, *more),
            dtype=dtype,
            compression="gzip",
            compression_opts=_GZIP_LEVEL,
            shuffle=np.dtype(dtype).itemsize > 1,
            fillvalue=0,
        )
        describe(dataset, plan)
        if label is not None:
            dataset.attrs["label"] = label

    create(LABELS, "uint8", None)
    for name, label in zip(names, labels, strict=True):
        if intensity:
            create(f"classes/{name}", info.dtype, label, info.channels)
        else:
            create(f"classes/{name}", "uint8", label)
    for index in plan.probability_labels:
        create(f"probabilities/{names[index]}", plan.spec.probability_dtype, labels[index])
    file.attrs.create("labels", list(labels), dtype=h5py.string_dtype())
    file.attrs["label_colors"] = np.asarray(plan.classifier.colors, np.int64)


def raw_chunks(
    file: h5py.File, plan: Plan, core: Box, origin: Index
) -> Iterator[tuple[str, Index, int, bytes]]:
    """The stored chunks of a core: (dataset, offset from the core's first voxel, mask, bytes).

    ``origin`` is where the core's first voxel lies in the file's datasets. IntegrityError if a
    chunk is missing.
    """
    for name in output_names(plan):
        dataset = file[name]
        for block in core.blocks(plan.grid_model.chunk):
            offset = block.relative_to(core.lo).lo
            at = tuple(a + o for a, o in zip(offset, origin, strict=True))
            try:
                mask, data = dataset.id.read_direct_chunk(at + (0,) * (dataset.ndim - 3))
            except (OSError, RuntimeError, ValueError) as error:
                raise IntegrityError(
                    f"a chunk of {name} is missing or cannot be read",
                    file=file.filename,
                    expected=f"a chunk at z, y, x = {at}",
                    found=str(error),
                ) from error
            yield name, offset, mask, data


def chunks_digest(chunks: Iterator[tuple[str, Index, int, bytes]]) -> str:
    """SHA-256 (hex) over stored chunks: tells a tile's part of a file without decompressing it."""
    digest = hashlib.sha256()
    for chunk in chunks:
        update_chunks(digest, *chunk)
    return digest.hexdigest()


def update_chunks(
    digest: "hashlib._Hash", name: str, offset: Index, mask: int, data: bytes
) -> None:
    digest.update(json.dumps([name, offset, mask, len(data)]).encode())
    digest.update(data)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """A file of this run for reading.

    IntegrityError if it is missing or is found to be damaged, when opened or while it is read in
    the body. ConfigError or ResourceError if it may be whole but cannot be reached.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except TbsegError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, OSError | RuntimeError) and errno_of(error) not in _DAMAGE:
            with storage_errors(path):
                raise
        raise IntegrityError(
            "a file of this run is missing or damaged",
            file=path,
            found=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
            mend="give the command again: what is damaged is made anew",
        ) from error
