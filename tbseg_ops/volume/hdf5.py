"""A volume as a dataset of an HDF5 file, in any order of its axes.

Axes by ``axistags``, else by the labels of the dimensions, else zyx or zyxc (see ``axes``). Of the
files of Imaris and BigDataViewer what they say of themselves is obeyed (``hdf5_layouts``).
Refused by name: what leaves the file (external and virtual data), chunks that were never written
(HDF5 would read them as zeros).
"""

import shlex
from math import ceil, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.hdf5.texts import text_attribute, text_list
from tbseg_ops.hdf5.untrusted import (
    dataset_paths,
    hdf5_errors,
    open_untrusted,
    untrusted_dataset,
)
from tbseg_ops.selection import WHOLE, Selection
from tbseg_ops.volume.array import ArraySource
from tbseg_ops.volume.axes import Axes, axes_of
from tbseg_ops.volume.hdf5_layouts import find_layout
from tbseg_ops.volume.voxel_size import VoxelSize, voxel_size


class Hdf5Source(ArraySource):
    """A dataset. Keeps its file open: not to be pickled or used after a fork."""

    def __init__(
        self,
        path: str,
        dataset: str | None,
        selection: Selection = WHOLE,
        *,
        as_mask: bool = False,
    ) -> None:
        """``dataset`` None: the only dataset of 2 to 5 axes in the file."""
        self._file = open_untrusted(path)
        try:
            with hdf5_errors(path, "read"):
                self._prepare(path, dataset or _only_volume(self._file), selection, as_mask)
        except BaseException:
            self._file.close()
            raise

    def _prepare(self, path: str, dataset: str, selection: Selection, as_mask: bool) -> None:
        where = f"{path}:{dataset}"
        self._dataset = found = untrusted_dataset(self._file, dataset, constant=as_mask)
        notes: tuple[str, ...] = ()
        if as_mask:
            notes = _unwritten(found)
        else:
            _check_written(found, where)
        layout = find_layout(found, where)
        self._is_unsigned = layout.unsigned
        axes, more = _axes(found, selection.axes, where)
        if layout.kind != "hdf5":  # what its program writes has one order
            more = ()
        self._describe(
            where,
            f"{Path(path).name}:{dataset}",
            shape=layout.shape or found.shape,
            chunks=found.chunks,
            dtype=np.dtype(np.uint16) if layout.unsigned else found.dtype,
            axes=Axes(axes.order, layout.voxels or _voxels(found, axes)),
            selection=selection,
            kind=layout.kind,
            notes=(*notes, *more),
        )

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _decoded(self, part: tuple[slice | int, ...]) -> NDArray[Any]:
        with hdf5_errors(self._where, "decoded"):
            found: NDArray[Any] = self._dataset[part]
        return found.view(np.uint16) if self._is_unsigned else found


def _axes(dataset: h5py.Dataset, given: str | None, where: str) -> tuple[Axes, tuple[str, ...]]:
    tags = text_attribute(dataset, "axistags")
    labels = text_list(dataset, "DIMENSION_LABELS") if tags is None else ()
    return axes_of(tags, labels, given, dataset.ndim, where)


def _only_volume(file: h5py.File) -> str:
    if file.id.links.exists(b"ilastikVersion") or file.id.links.exists(b"workflowName"):
        raise InputError(
            "this is a project of ilastik, not a volume",
            file=file.filename,
            expected="a volume",
            found="a project (.ilp)",
            mend="give the volume here; have volume and classifier changed places?",
        )
    volumes = [
        path
        for path in dataset_paths(file)
        if 2 <= file[path].ndim <= 5 and file[path].dtype.kind in "uifb"
    ]
    if len(volumes) != 1:
        raise InputError(
            "it is not clear which dataset is the volume",
            file=file.filename,
            expected="exactly one dataset of 2 to 5 axes",
            found=", ".join(volumes[:20]) or "none",
            mend=f"give its path, such as {shlex.quote(f'{file.filename}:{volumes[0]}')}"
            if volumes
            else "give another file, or write the volume as a dataset of z, y, x",
        )
    return volumes[0]


def _check_written(dataset: h5py.Dataset, where: str) -> None:
    """HDF5 reads what was never written as zeros, for example after a crash of the writer."""
    if dataset.chunks is None:
        unit, wanted = "bytes", dataset.size * dataset.dtype.itemsize
        written = dataset.id.get_storage_size()
    else:
        grid = [ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]
        unit, wanted = "chunks", prod(grid)
        written = dataset.id.get_num_chunks()
        if written == wanted:  # as many as there should be; now, are they where they should be?
            written = _chunks_in_place(dataset, grid)
    if written != wanted:
        raise InputError(
            "the dataset is damaged or incomplete: what was never written would read as zeros",
            file=where,
            expected=f"{wanted} {unit}",
            found=f"{written} {unit} are stored",
            mend="write the file again; if the rest is really zero, copy it with explicit zeros",
        )


def _unwritten(dataset: h5py.Dataset) -> tuple[str, ...]:
    """A note of the chunks of a mask that were never written, if there are any."""
    if dataset.chunks is None:
        return ()
    wanted = prod(ceil(n / c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    missing = wanted - dataset.id.get_num_chunks()
    if missing < 1:
        return ()
    return (
        f"{missing} of {wanted} chunks of the mask were never written: they count as"
        f" {dataset.fillvalue}",
    )


def _chunks_in_place(dataset: h5py.Dataset, grid: list[int]) -> int:
    """How many places of the grid of chunks have a stored chunk."""
    there = np.zeros(grid, bool)

    def mark(chunk: Any) -> None:
        place, off = zip(*map(divmod, chunk.chunk_offset, dataset.chunks), strict=True)
        if not any(off) and all(i < n for i, n in zip(place, grid, strict=True)):
            there[place] = True

    dataset.id.chunk_iter(mark)
    return int(np.count_nonzero(there))


def _voxels(dataset: h5py.Dataset, axes: Axes) -> VoxelSize:
    """``element_size_um`` (z, y, x), as some programs write it, else the axistags' resolution."""
    if "element_size_um" in dataset.attrs:
        stored = dataset.attrs.get_id("element_size_um")
        if stored.shape == (3,) and stored.dtype.kind in "uif":
            return voxel_size(np.asarray(dataset.attrs["element_size_um"]).tolist(), "um")
    return axes.voxels
