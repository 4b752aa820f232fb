"""From what a user writes (see ``reference``) to a source of slices."""

import glob
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from tbseg_ops.errors import InputError, system_errors
from tbseg_ops.geometry import Index
from tbseg_ops.reference import NUMBER, TIFF_MAGIC, Reference, is_chunked
from tbseg_ops.selection import WHOLE, Selection
from tbseg_ops.settings import check_inside
from tbseg_ops.volume.channels import Joined, OneChannel, Reversed
from tbseg_ops.volume.foreign import known_elsewhere
from tbseg_ops.volume.lists import read_list
from tbseg_ops.volume.mask import fitted
from tbseg_ops.volume.order import shortened
from tbseg_ops.volume.regular_files import open_regular
from tbseg_ops.volume.source import Source, VolumeInfo, check_same_volume

_PAGE = re.compile(r" page \d+$")
_LOOKED_AT = 10_000  # names of a folder, for a message
_HDF5 = b"\x89HDF\r\n\x1a\n"


def open_source(volume: str, selection: Selection = WHOLE) -> Source:
    """Opens a volume as ``selection`` says and audits all of its headers; no pixel is decoded.

    InputError for every defect: it names the file or page, what was expected and found, the mend.
    ResourceError when the disk fails; ConfigError outside of ``TBSEG_ROOTS``.
    """
    names = (volume, *selection.channels_from)
    with ExitStack() as stack:
        opened = [stack.enter_context(_opened(name, selection)) for name in names]
        if selection.order == "reversed":
            opened = [Reversed(source) for source in opened]
        source = _chosen(opened, names, selection)
        stack.pop_all()
    return source


def open_planned(
    volume: str, slices: Sequence[str], info: VolumeInfo | None, selection: Selection = WHOLE
) -> Source:
    """Opens the volume of a plan for reading: ``slices`` are its names in the plan.

    A folder of slices is not audited again: the plan did that. Its files are opened when they are
    read. InputError, now or then, if shape, channels or dtype are not those of ``info``.
    """
    names = (volume, *selection.channels_from)
    alone = info if selection.channel is None and len(names) == 1 else None
    with ExitStack() as stack:
        first = stack.enter_context(_planned(volume, slices, alone, selection))
        more = [
            stack.enter_context(_planned(name, None, None, selection))
            for name in selection.channels_from
        ]
        opened = [first, *more]
        source = _chosen(opened, names, selection)
        if info is not None and hasattr(source, "info"):
            check_same_volume(source.info, info, volume)
        stack.pop_all()
    return source


def open_mask(mask: str, shape: Index, slices: Sequence[str] | None = None) -> Source:
    """Opens a mask for a volume of ``shape``: arrays (z, y, x, 1), uint8, 1 inside.

    Any type, not 0 is inside; it may be coarser by whole factors, or one plane for all slices.
    ``slices``: its names in a plan. InputError as ``open_source``, and if it does not fit.
    """
    with ExitStack() as stack:
        # The name of a plane is there for each slice that it stands for.
        names = None if slices is None else tuple(dict.fromkeys(slices))
        source = stack.enter_context(
            _opened(mask, WHOLE, as_mask=True) if names is None else _planned_mask(mask, names)
        )
        found = fitted(source, shape, mask)
        stack.pop_all()
    if names is not None and tuple(dict.fromkeys(found.slices)) != names:
        found.close()
        raise InputError(
            "the mask has other slices than when the plan was made",
            file=mask,
            expected=f"{names[0]} to {names[-1]}",
            found=f"{found.slices[0]} to {found.slices[-1]}",
            mend="make the plan again (tbseg plan, or the task plan)",
        )
    return found


def _planned_mask(mask: str, names: Sequence[str]) -> Source:
    """Of a folder of slices, only the first is audited again."""
    reference = existing(mask)
    is_array = reference.kind == "file" or is_chunked(reference.file)
    if is_array or _PAGE.search(names[0]):  # pages: parts of a stack, not files of their own
        return _opened(mask, WHOLE, planned=True, as_mask=True)
    from tbseg_ops.volume.stack import SliceFiles, StackSource

    folder = _folder_of(reference)
    first = StackSource(folder, names[:1], mask, as_mask=True).info
    info = first.model_copy(update={"shape": (len(names), *first.shape[1:])})
    source = SliceFiles(folder, names, info)
    source.info = info
    return source


def _chosen(opened: list[Source], names: Sequence[str], selection: Selection) -> Source:
    """The channels of these volumes that are the volume."""
    if selection.channel is not None:
        pairs = zip(opened, names, strict=True)
        opened = [OneChannel(source, selection.channel, name) for source, name in pairs]
    return opened[0] if len(opened) == 1 else Joined(opened, names)


def _opened(
    volume: str, selection: Selection, *, planned: bool = False, as_mask: bool = False
) -> Source:
    """``as_mask``: constant regions are expected, and parts that were never written lie outside."""
    # tifffile, h5py and tensorstore are loaded when a volume is opened, not by importing this.
    reference = existing(volume)
    if is_chunked(reference.file):
        from tbseg_ops.volume.zarr import ZarrSource

        return ZarrSource(reference.file, selection, planned=planned)
    if reference.kind != "file":
        from tbseg_ops.volume.stack import StackSource

        folder, names = found_slices(reference)
        _check_plain(volume, selection.model_copy(update={"time": None}))
        if (parts := _parts(reference, folder, names, selection.time, as_mask)) is not None:
            return parts
        _check_plain(volume, selection)
        in_order = reference.kind == "list"
        return StackSource(folder, names, volume, in_order=in_order, as_mask=as_mask)
    if reference.dataset is None:
        return _source_of_file(volume, selection, as_mask)
    from tbseg_ops.volume.hdf5 import Hdf5Source

    _check_no_scale(volume, selection)
    return Hdf5Source(reference.file, reference.dataset, selection, as_mask=as_mask)


def _parts(
    reference: Reference,
    folder: str,
    names: Sequence[str],
    time: int | None,
    as_mask: bool = False,
) -> Source | None:
    """The volume of several files of many pages, if they are that; ``time``: of each of them."""
    from tbseg_ops.volume.parts import PartsSource, parts_of
    from tbseg_ops.volume.stack import slice_names

    notes: tuple[str, ...] = ()
    is_placed = reference.kind == "pattern" and NUMBER in reference.file
    if is_placed:
        names, notes = slice_names(names, str(reference), folder)
    in_order = is_placed or reference.kind == "list"
    found = parts_of(folder, names, str(reference), in_order=in_order)
    if found is None:
        return None
    source = PartsSource(folder, found, time=time, as_mask=as_mask)
    source.warnings = (*notes, *source.warnings)
    return source


def _planned(
    volume: str, slices: Sequence[str] | None, info: VolumeInfo | None, selection: Selection
) -> Source:
    """``slices`` None: in the order of their names."""
    reference = existing(volume)
    backwards = selection.order == "reversed"
    if reference.kind == "file" or is_chunked(reference.file):
        if info is not None and info.kind == "tiff-file" and slices is not None and not backwards:
            from tbseg_ops.volume.pages import PlannedPages

            return PlannedPages(reference.file, slices, info, selection.time)
        source = _opened(volume, selection, planned=True)
        return Reversed(source) if backwards else source
    from tbseg_ops.volume.stack import SliceFiles, slice_names

    if slices is None or _PAGE.search(slices[0]):  # pages: not files of their own
        folder, names = found_slices(reference)
        if (parts := _parts(reference, folder, names, selection.time)) is not None:
            return Reversed(parts) if backwards else parts
    if slices is None:
        slices = names if reference.kind == "list" else slice_names(names, volume, folder)[0]
        return SliceFiles(folder, slices[::-1] if backwards else slices)
    return SliceFiles(_folder_of(reference), slices, info)


def _folder_of(reference: Reference) -> str:
    """That to which the names of slices in a plan are relative."""
    return reference.file if reference.kind == "folder" else found_slices(reference)[0]


def _check_plain(volume: str, selection: Selection) -> None:
    """TIFF files have one scale and tell their axes themselves; single slices have no time."""
    given = {"--scale": selection.scale, "--axes": selection.axes, "--time": selection.time}
    wrong = [name for name, value in given.items() if value not in (None, 0)]
    if wrong:
        raise InputError(
            f"{wrong[0]} is for arrays (HDF5, Imaris, Zarr, N5)",
            file=volume,
            found="TIFF",
            mend=f"leave {wrong[0]} out",
        )


def _check_no_scale(volume: str, selection: Selection) -> None:
    """A dataset is one scale, whether it was named or is the only one."""
    if selection.scale:
        raise InputError(
            "a dataset has no scales",
            file=volume,
            expected="a file of Imaris or BigDataViewer, without a path in it",
            found=f"--scale {selection.scale}",
            mend="leave --scale out; of a dataset of another scale give the path: file.h5:/path",
        )


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
            expected="a folder, a glob pattern, a file, or file.h5:/path",
            found="nothing of that name" + _similar(reference.file),
            mend="check the path, on the machine on which this runs",
        )
    return reference


def found_slices(reference: Reference) -> tuple[str, list[str]]:
    """A folder, and relative to it the paths of all in it, or of what matches or is listed.

    Those of a list are in their order.
    """
    with system_errors(reference.file):
        if reference.kind == "list":
            return read_list(reference.file)
        if reference.kind == "folder":
            return reference.file, [entry.name for entry in Path(reference.file).iterdir()]
        # "[" may be a sign of the pattern, or stand in a name, as in UltraII[00 x 00]_C00_*.tif.
        above = reference.fixed
        rest = os.path.relpath(reference.file, above).replace(NUMBER, "*")
        patterns = (f"{glob.escape(str(above))}/{p}" for p in (rest, rest.replace("[", "[[]")))
        tried = (glob.glob(pattern, include_hidden=True) for pattern in patterns)  # noqa: PTH207
        found = next(filter(None, tried), [])
    if not found:
        raise InputError(
            "no file matches the pattern",
            file=reference.file,
            expected="TIFF slices",
            found="nothing" + _there(reference.fixed),
            mend="check the pattern; quote it, so that the shell leaves it alone",
        )
    folder = os.path.commonpath([Path(path).parent for path in found])
    return folder, [os.path.relpath(path, folder) for path in found]


def _names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in islice(folder.iterdir(), _LOOKED_AT))


def _similar(path: str) -> str:
    """What is there beside a path that is not, and has nearly its name."""
    with suppress(OSError):
        names = _names_in(Path(path).parent)
        if close := get_close_matches(Path(path).name, names):
            return f"; there is {shortened(close)}"
    return ""


def _there(folder: Path) -> str:
    """What is in the folder of a pattern that nothing matches."""
    with suppress(OSError):
        if names := _names_in(folder):
            return f"; in the folder there is {shortened(names)}"
    return ""


def _source_of_file(path: str, selection: Selection, as_mask: bool) -> Source:
    with open_regular(path) as file, system_errors(path):
        magic = file.read(8)
    if magic == _HDF5:
        return _source_of_hdf5(path, selection, as_mask)
    if magic[:4] in TIFF_MAGIC:
        from tbseg_ops.volume.pages import PagesSource
        from tbseg_ops.volume.parts import siblings

        _check_plain(path, selection.model_copy(update={"time": None}))
        source = PagesSource(path, time=selection.time, as_mask=as_mask)
        if (other := siblings(path)) is not None and not as_mask:
            source.warnings = (*source.warnings, _is_part(other))
        return source
    raise known_elsewhere(path, path) or InputError(
        "the file is neither TIFF nor HDF5",
        file=path,
        expected="a folder of TIFF slices, a TIFF file, an HDF5 file, a folder of Zarr or N5",
        found=f"the bytes {magic.hex(' ')}" if magic else "0 bytes",
        mend="convert the volume to a stack of TIFF slices",
    )


def _is_part(other: str) -> str:
    return (
        f"{other} lies beside it: if the file is the first part of a stack, give the folder, or a"
        " pattern for all parts"
    )


def _source_of_hdf5(path: str, selection: Selection, as_mask: bool) -> Source:
    """Of a file whose program is known: its channels; of another one: its only volume."""
    from tbseg_ops.hdf5.untrusted import hdf5_errors, open_untrusted
    from tbseg_ops.volume.hdf5 import Hdf5Source
    from tbseg_ops.volume.hdf5_layouts import datasets_of

    with open_untrusted(path) as file, hdf5_errors(path, "read"):
        found = datasets_of(file, selection)
    if found is None:
        _check_no_scale(path, selection)
        return Hdf5Source(path, None, selection, as_mask=as_mask)
    alone = selection.model_copy(update={"time": None})  # each time point is a dataset of its own
    with ExitStack() as stack:
        opened = [stack.enter_context(Hdf5Source(path, name, alone)) for name in found]
        source = opened[0] if len(opened) == 1 else Joined(opened, found)
        stack.pop_all()
    return source
