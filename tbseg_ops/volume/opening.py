"""From what a user writes (see ``reference``) to a source of slices."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from tbseg_ops.errors import InputError, system_errors
from tbseg_ops.reference import TIFF_MAGIC, Reference
from tbseg_ops.settings import check_inside
from tbseg_ops.volume.regular_files import open_regular
from tbseg_ops.volume.source import Source, VolumeInfo

_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_source(volume: str) -> Source:
    """Opens a volume and audits all of its headers; no pixel is decoded.

    InputError for every defect: it names the file or page, what was expected and found, the mend.
    ResourceError when the disk fails; ConfigError outside of ``TBSEG_ROOTS``.
    """
    reference = existing(volume)
    # tifffile and h5py are loaded when a volume is opened, not by importing this package.
    if reference.kind != "file":
        from tbseg_ops.volume.stack import StackSource

        return StackSource(*found_slices(reference), volume)
    if reference.dataset is None:
        return _source_of_file(volume)
    from tbseg_ops.volume.hdf5 import Hdf5Source

    return Hdf5Source(reference.file, reference.dataset)


def open_planned(volume: str, slices: Sequence[str], info: VolumeInfo | None) -> Source:
    """Opens the volume of a plan for reading: ``slices`` are its names in the plan.

    A folder of slices is not audited again: the plan did that. Its files are opened when they are
    read. InputError, now or then, if shape, channels or dtype are not those of ``info``.
    """
    reference = existing(volume)
    if reference.kind == "file":
        source = open_source(volume)
        found = source.info
        if info and (found.shape, found.channels, found.dtype) != (
            info.shape,
            info.channels,
            info.dtype,
        ):
            source.close()
            raise InputError(
                "the input changed since the plan was made",
                file=volume,
                expected=f"shape {info.shape} (z, y, x), {info.channels} channels, {info.dtype}",
                found=f"shape {found.shape}, {found.channels} channels, {found.dtype}",
                mend="make the plan again (tbseg plan, or the task plan)",
            )
        return source
    from tbseg_ops.volume.stack import SliceFiles

    is_folder = reference.kind == "folder"
    return SliceFiles(reference.file if is_folder else found_slices(reference)[0], slices, info)


def existing(volume: str) -> Reference:
    """What a volume's text refers to. InputError if nothing is there; a pattern is not tried."""
    if not volume or "\0" in volume:
        raise InputError("this is not a path", file=volume, expected="a path", found=repr(volume))
    with system_errors(volume):
        check_inside(volume)
    reference = Reference.of(volume)
    if reference.kind != "pattern" and not os.path.lexists(reference.file):
        raise InputError(
            "there is no such volume",
            file=volume,
            expected="a folder, a glob pattern, a TIFF file, or file.h5:/path",
            found="nothing of that name",
            mend="check the path, on the machine on which this runs",
        )
    return reference


def found_slices(reference: Reference) -> tuple[str, list[str]]:
    """A folder, and relative to it the paths of all that is in it or matches the pattern."""
    with system_errors(reference.file):
        if reference.kind == "folder":
            return reference.file, [entry.name for entry in Path(reference.file).iterdir()]
        found = glob.glob(reference.file, include_hidden=True)  # noqa: PTH207 - absolute ones, too
    if not found:
        raise InputError(
            "no file matches the pattern",
            file=reference.file,
            expected="TIFF slices",
            found="nothing",
            mend="check the pattern; quote it, so that the shell leaves it alone",
        )
    folder = os.path.commonpath([Path(path).parent for path in found])
    return folder, [os.path.relpath(path, folder) for path in found]


def _source_of_file(path: str) -> Source:
    with open_regular(path) as file, system_errors(path):
        magic = file.read(8)
    if magic == _HDF5:
        from tbseg_ops.volume.hdf5 import Hdf5Source

        return Hdf5Source(path, None)
    if magic[:4] in TIFF_MAGIC:
        from tbseg_ops.volume.pages import PagesSource

        return PagesSource(path)
    raise InputError(
        "the file is neither TIFF nor HDF5",
        file=path,
        expected="a folder of TIFF slices, a TIFF file or an HDF5 file",
        found=f"the bytes {magic.hex(' ')}" if magic else "0 bytes",
        mend="convert the volume to a stack of TIFF slices",
    )
