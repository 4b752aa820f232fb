"""The datasets in the HDF5 files of a run: their names, axes, chunks, and the chunks' digests."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import h5py
import numpy as np

from tbseg_ops.errors import IntegrityError
from tbseg_ops.geometry import Box, Index
from tbseg_ops.hdf5.image import axistags
from tbseg_ops.run.plan import Plan
from tbseg_ops.storage.stale import is_stale

RAW = "volume"  # the dataset of slabs, tiles and volume.h5
MASK = "mask"  # beside it, if the run has one: uint8, 0 where nothing is to be computed
LABELS = "labels"  # uint8, 1 for the first class; 0 outside of the mask

_GZIP_LEVEL = 1  # compression is the cost of writing; higher levels gain little on masks


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


def create_merged(file: h5py.File, plan: Plan) -> None:
    """The empty datasets of the merged file; of a part, ``offset`` (z, y, x) says where it lies."""
    create_outputs(file, plan, plan.shape)
    if plan.spec.box is not None:
        for name in output_names(plan):
            file[name].attrs["offset"] = plan.part.lo


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
                if is_stale(error):
                    raise
                raise IntegrityError(
                    f"a chunk of {name} is missing or cannot be read",
                    file=file.filename,
                    expected=f"a chunk at z, y, x = {at}",
                    found=str(error),
                ) from error
            yield name, offset, mask, data


def chunks_digest(chunks: Iterable[tuple[str, Index, int, bytes]]) -> str:
    """SHA-256 (hex) over stored chunks: tells a tile's part of a file without decompressing it."""
    digest = hashlib.sha256()
    for name, offset, mask, data in chunks:
        digest.update(json.dumps([name, offset, mask, len(data)]).encode())
        digest.update(data)
    return digest.hexdigest()
