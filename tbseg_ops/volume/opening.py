"""From what a user writes to a source of slices.

folder                 its TIFF slices (.tif, .tiff in any case)
'folder/img_*.tif'     the TIFF slices that match (any glob pattern, also over several folders)
stack.tif              one multi-page TIFF file, whatever its extension
file.h5:/path          a dataset of an HDF5 file; without the path, the only one of 2 to 5 axes
"""

import glob
import os
from pathlib import Path

from tbseg_ops.errors import InputError
from tbseg_ops.settings import check_inside
from tbseg_ops.volume.regular_files import open_regular, system_errors
from tbseg_ops.volume.source import Source

_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_source(volume: str) -> Source:
    """Opens a volume and audits all of its headers; no pixel is decoded.

    InputError for every defect: it names the file or page, what was expected and found, the mend.
    ResourceError when the disk fails; ConfigError outside of ``TBSEG_ROOTS``.
    """
    if not volume or "\0" in volume:
        raise InputError("this is not a path", file=volume, expected="a path", found=repr(volume))
    with system_errors(volume):
        check_inside(volume)
        path = Path(volume)
        is_folder = path.is_dir()
        exists = os.path.lexists(path)
    if is_folder:
        return _stack_of_folder(volume)
    if exists:
        return _source_of_file(volume)
    file, dataset = _split_dataset(volume)
    if dataset is not None:
        from tbseg_ops.volume.hdf5 import Hdf5Source

        return Hdf5Source(file, dataset)
    if glob.has_magic(volume):
        return _stack_of_glob(volume)
    raise InputError(
        "there is no such volume",
        file=volume,
        expected="a folder, a glob pattern, a TIFF file, or file.h5:/path",
        found="nothing of that name",
        mend="check the path, on the machine on which this runs",
    )


# tifffile and h5py are loaded when a volume is opened, not by importing this package.


def _stack_of_folder(folder: str) -> Source:
    from tbseg_ops.volume.stack import StackSource

    with system_errors(folder):
        names = [entry.name for entry in Path(folder).iterdir()]
    return StackSource(folder, names, folder)


def _stack_of_glob(pattern: str) -> Source:
    from tbseg_ops.volume.stack import StackSource

    with system_errors(pattern):
        found = glob.glob(pattern, include_hidden=True)  # noqa: PTH207 - absolute patterns, too
    if not found:
        raise InputError(
            "no file matches the pattern",
            file=pattern,
            expected="TIFF slices",
            found="nothing",
            mend="check the pattern; quote it, so that the shell leaves it alone",
        )
    folder = os.path.commonpath([Path(path).parent for path in found])
    return StackSource(folder, [os.path.relpath(path, folder) for path in found], pattern)


def _source_of_file(path: str) -> Source:
    with open_regular(path) as file, system_errors(path):
        magic = file.read(8)
    if magic == _HDF5:
        from tbseg_ops.volume.hdf5 import Hdf5Source

        return Hdf5Source(path, None)
    if magic[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        from tbseg_ops.volume.pages import PagesSource

        return PagesSource(path)
    raise InputError(
        "the file is neither TIFF nor HDF5",
        file=path,
        expected="a folder of TIFF slices, a TIFF file or an HDF5 file",
        found=f"the bytes {magic.hex(' ')}" if magic else "0 bytes",
        mend="convert the volume to a stack of TIFF slices",
    )


def _split_dataset(volume: str) -> tuple[str, str | None]:
    """("file.h5", "/path") of "file.h5:/path" if there is such a file, else (volume, None)."""
    at = volume.find(":/")
    while at >= 0:
        if os.path.lexists(volume[:at]) and not Path(volume[:at]).is_dir():
            return volume[:at], volume[at + 1 :]
        at = volume.find(":/", at + 1)
    return volume, None
