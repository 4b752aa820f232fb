"""What programs say of the volumes in their HDF5 files: Imaris (.ims) and BigDataViewer.

Imaris pads each dataset to whole chunks and keeps the size of the image beside it. BigDataViewer
(and BigStitcher) keeps 16 bit without a sign as 16 bit with one.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

import h5py
import numpy as np

from tbseg_ops.errors import InputError
from tbseg_ops.hdf5.untrusted import MissingError, find, members
from tbseg_ops.selection import Selection
from tbseg_ops.volume.axes import scale_of, time_point
from tbseg_ops.volume.source import Kind
from tbseg_ops.volume.voxel_size import VoxelSize, normal_unit, voxel_size

_CELLS = re.compile(r"/t(\d{5,})/s(\d{2,})/(\d+)/cells")
_MOST = 10_000  # channels, time points, views, scales


@dataclass(frozen=True, slots=True)
class Layout:
    """``shape`` (z, y, x): that of the image, if the dataset is larger."""

    kind: Kind = "hdf5"
    shape: tuple[int, int, int] | None = None
    unsigned: bool = False
    voxels: VoxelSize | None = None


def find_layout(dataset: h5py.Dataset, where: str) -> Layout:
    """What the program that wrote the file says of a dataset; InputError if it contradicts it."""
    if dataset.dtype == np.int16 and _CELLS.fullmatch(dataset.name):
        return Layout("bigdataviewer", unsigned=True)
    sizes = [_characters(dataset.parent, f"ImageSize{axis}") for axis in "ZYX"]
    if PurePosixPath(dataset.name).name != "Data" or None in sizes:
        return Layout()
    try:
        z, y, x = (int(str(size)) for size in sizes)
        fits = all(0 < n <= m for n, m in zip((z, y, x), dataset.shape, strict=True))
    except ValueError:
        fits = False
    if not fits:
        raise InputError(
            "the size of the image does not fit its dataset",
            file=where,
            expected=f"ImageSizeZ, Y, X within {dataset.shape}",
            found=", ".join(map(str, sizes)),
            mend="write the file again",
        )
    return Layout("imaris", (z, y, x), voxels=_extent(dataset.file, (z, y, x)))


def datasets_of(file: h5py.File, selection: Selection) -> list[str] | None:
    """The datasets that are the volume's channels; None if no program's layout is known.

    InputError if the scale, or the time point, is not there, or if it is not clear which volume.
    """
    name = file.filename
    if file.id.links.exists(b"DataSet") and file.id.links.exists(b"DataSetInfo"):
        levels = _numbered(file, "/DataSet", "ResolutionLevel", name)
        level = f"/DataSet/{levels[scale_of(selection.scale, len(levels), name)]}"
        times = _numbered(file, level, "TimePoint", name)
        time = f"{level}/{times[time_point(selection.time, len(times), name)]}"
        count = len(_numbered(file, time, "Channel", name))
        return [f"{time}/Channel {i}/Data" for i in range(count)]
    times = _numbered(file, "/", "t", name)
    if not times or not _numbered(file, f"/{times[0]}", "s", name):
        return None
    time = f"/{times[time_point(selection.time, len(times), name)]}"
    views = _numbered(file, time, "s", name)
    if len(views) != 1:
        raise InputError(
            "the file holds several views (setups), or none",
            file=name,
            expected="one of them",
            found=", ".join(views[:10]) + (", ..." if len(views) > 10 else "") or "none",
            mend=f"choose one by its path: {shlex.quote(f'{name}:{time}/{views[0]}/0/cells')}"
            if views
            else "give the path of the dataset that is wanted: file.h5:/path",
        )
    levels = _numbered(file, f"{time}/{views[0]}", "", name)
    return [f"{time}/{views[0]}/{levels[scale_of(selection.scale, len(levels), name)]}/cells"]


def _numbered(file: h5py.File, group: str, word: str, where: str) -> list[str]:
    """The members of a group that are a word and a number, by the number."""
    try:
        found = find(file["/"], group, where)
    except MissingError:
        return []
    if not isinstance(found, h5py.Group):
        return []
    matches = [re.fullmatch(rf"{word} ?(\d{{1,6}})", n) for n in members(found, _MOST, where)]
    return [m[0] for m in sorted((m for m in matches if m), key=lambda m: int(m[1]))]


def _characters(group: h5py.Group, name: str) -> str | None:
    """An attribute as Imaris writes text: an array of single characters; None if it is not that."""
    if name not in group.attrs:
        return None
    stored = group.attrs.get_id(name)
    if stored.dtype != np.dtype("S1") or len(stored.shape) != 1 or stored.shape[0] > 100:
        return None
    return b"".join(np.asarray(group.attrs[name]).tolist()).decode("ascii", "replace").strip()


def _extent(file: h5py.File, shape: tuple[int, int, int]) -> VoxelSize | None:
    """The voxel size by the corners of the image, which are the same for all scales."""
    try:
        image = find(file["/"], "/DataSetInfo/Image", file.filename)
    except MissingError:
        return None
    low, high = (
        [_characters(image, f"{end}{i}") for i in (2, 1, 0)] for end in ("ExtMin", "ExtMax")
    )
    try:
        sizes = [
            (float(str(b)) - float(str(a))) / n for a, b, n in zip(low, high, shape, strict=True)
        ]
    except ValueError:
        return None
    return voxel_size(sizes, normal_unit(_characters(image, "Unit") or ""))
