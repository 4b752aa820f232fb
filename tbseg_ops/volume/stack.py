"""A volume as a folder of TIFF files with one page each, or as a glob pattern.

The fingerprint of a slice is the sha256 of its file's bytes; ``read`` decodes the same bytes that
it digests, so that nothing can be swapped in between.

Per case: RGB and other samples become channels. Byte order, compression and tiling may differ from
slice to slice. Refused by name: other shape, dtype, channels, MINISWHITE or orientation than the
first slice; several pages; gaps and duplicates; links to nowhere, folders, FIFOs; all that
``tiff.page`` refuses. Links to regular files are followed. Other files in the folder are ignored,
with a warning.
"""

import hashlib
import io
import os
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from tifffile import TiffPage

from tbseg_ops.errors import InputError, system_errors
from tbseg_ops.limits import check_expansion
from tbseg_ops.reference import TIFF_SUFFIXES
from tbseg_ops.volume.foreign import known_elsewhere
from tbseg_ops.volume.order import order_slices, shortened
from tbseg_ops.volume.regular_files import (
    changed_since_audit,
    open_regular,
    open_unchanged,
    size_of,
)
from tbseg_ops.volume.source import InFiles, Slices, VolumeInfo, check_range, pixels_of
from tbseg_ops.volume.tiff.ifd_chain import Chain, page_offsets
from tbseg_ops.volume.tiff.layout import declared_images, page_set, page_voxel_size
from tbseg_ops.volume.tiff.page import (
    PageHeader,
    check_page,
    check_same,
    decode,
    header_warnings,
    open_tiff,
    plain_pixels,
)
from tbseg_ops.volume.tiff.segments import check_unused, stored_bytes, used_bytes
from tbseg_ops.volume.tiff.strict import strict
from tbseg_ops.volume.tiff.thumbnails import is_thumbnail, thumbnail_notes
from tbseg_ops.volume.voxel_size import UNKNOWN, VoxelSize

_TILE_DIGITS = 6  # of the folders that TeraStitcher takes, by the place in 1/10 um
_LOOKED_AT = 100  # folders, for a message
_THREADS = 16  # header checks wait for the disk, or for a network


@dataclass(frozen=True, slots=True)
class _Audited:
    header: PageHeader
    size: int
    voxels: VoxelSize
    set: Mapping[str, int]
    notes: tuple[str, ...]
    pixels: tuple[int, str] | None


class SliceFiles(InFiles):
    """Slices that are files of their own, opened when they are read. Can be pickled."""

    def __init__(self, folder: str, names: Sequence[str], info: VolumeInfo | None = None) -> None:
        """``names``: the paths of the slices in ``folder``, in z order; ``info`` of an audit."""
        self._folder = folder
        self._plane = info and (info.shape[1:], info.channels, info.dtype)
        self._header: PageHeader | None = None
        self._sizes: Sequence[int | None] = (None,) * len(names)
        self.slices = names

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``. Every file is read once: what is digested is what is decoded."""
        check_range(z0, z1, len(self.slices))
        array, digests, header = np.empty(0), [], self._header
        places = []
        for z in range(z0, z1):
            path, content = self.path(z), self._content(z)
            digests.append(hashlib.sha256(content).hexdigest())
            self._check_planned(z, digests[-1], planned)
            with strict(path, "decoded"):
                file = io.BytesIO(content)
                page, _ = _only_page(file, page_offsets(file, len(content), path), path)
                found = check_page(page, len(content), path, alone=True)
                if header not in (None, found):
                    raise changed_since_audit("slice", path, header, found)
                plane = found.shape, found.channels, found.dtype
                if self._plane not in (None, plane):
                    raise changed_since_audit("slice", path, self._plane, plane)
                if z == z0:
                    header = found
                    array = np.empty((z1 - z0, *found.shape, found.channels), found.dtype)
                array[z - z0] = decode(page, found, path)
                places.append(plain_pixels(page, found))
        return Slices(array, tuple(digests), pixels_of(places))

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """See ``Source.fingerprints``. Decodes nothing."""
        check_range(z0, z1, len(self.slices))
        return tuple(self._digest(z) for z in range(z0, z1))

    def path(self, z: int) -> str:
        """See ``InFiles.path``."""
        return str(Path(self._folder) / self.slices[z])

    def open(self, z: int) -> BinaryIO:
        """See ``InFiles.open``."""
        return open_unchanged(self.path(z), self._sizes[z], "slice")

    def _content(self, z: int) -> bytes:
        with strict(self.path(z)), self.open(z) as file:
            content = file.read()
        if self._sizes[z] not in (None, len(content)):
            raise changed_since_audit(
                "slice", self.path(z), f"{self._sizes[z]} bytes", f"{len(content)} bytes"
            )
        return content

    def _digest(self, z: int) -> str:
        with system_errors(self.path(z)), self.open(z) as file:
            return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest()


class StackSource(SliceFiles):
    """A folder, or what matches a pattern, audited: order, gaps, and the header of each slice."""

    def __init__(
        self,
        folder: str,
        names: Sequence[str],
        shown: str,
        *,
        in_order: bool = False,
        as_mask: bool = False,
    ) -> None:
        """``names``: relative paths of what is in ``folder``, or of its slices, if ``in_order``.

        ``shown``: the folder in messages.
        """
        tiffs, warnings = _choose(names, shown)
        slices, more = (tuple(names), ()) if in_order else order_slices(tiffs, shown, folder)
        super().__init__(folder, slices)
        audited = self._audit()
        self._header = first = audited[0].header
        for z, slice_ in enumerate(audited):
            check_same(slice_.header, first, self.path(z), slices[0])
        self._sizes = sizes = tuple(slice_.size for slice_ in audited)
        notes = dict.fromkeys(note for slice_ in audited for note in slice_.notes)
        told = () if in_order else _another_order(slices, audited[0].set)
        self.warnings = (*warnings, *more, *told, *header_warnings(first, notes))
        self.info = VolumeInfo(
            shape=(len(slices), *first.shape),
            channels=first.channels,
            dtype=first.dtype,
            voxel_size=audited[0].voxels.size,
            unit=audited[0].voxels.unit,
            kind="tiff-stack",
        )
        self.is_plain = pixels_of([slice_.pixels for slice_ in audited]) is not None
        if not as_mask:  # of a mask, much is constant; its shape is that of an audited volume
            check_expansion(self.info.nbytes, sum(sizes), shown)

    def _audit(self) -> list[_Audited]:
        paths = [self.path(z) for z in range(len(self.slices))]
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                first = (path == paths[0] for path in paths)
                return list(pool.map(_audit_slice, paths, first))  # raises for the first bad z
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _another_order(slices: Sequence[str], planes: Mapping[str, int]) -> tuple[str, ...]:
    """A note if an OME set tells another order than the names do."""
    told = [planes[name] for path in slices if (name := Path(path).name) in planes]
    if told == sorted(told):
        return ()
    first = min(planes, key=lambda name: planes[name])
    return (
        f"the OME-XML of the slices has another order than their names: {first} is z = 0 there, and"
        f" {slices[0]} here; if the OME-XML is right, give --order reversed, or a list of files",
    )


def slice_names(
    names: Sequence[str], shown: str, folder: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of what is in a folder the slices, in their order, and notes; no file is opened."""
    tiffs, notes = _choose(names, shown)
    ordered, more = order_slices(tiffs, shown, folder)
    return ordered, (*notes, *more)


def _choose(names: Sequence[str], shown: str) -> tuple[list[str], tuple[str, ...]]:
    """The names that are slices, and warnings about the others."""
    hidden = sorted(name for name in names if Path(name).name.startswith("."))
    visible = sorted(set(names) - set(hidden))
    tiffs = [name for name in visible if name.lower().endswith(TIFF_SUFFIXES)]
    others = [name for name in visible if not name.lower().endswith(TIFF_SUFFIXES)]
    if not tiffs:
        if others and (known := known_elsewhere(others[0], shown)) is not None:
            raise known
        if others and all(name.isdigit() and len(name) == _TILE_DIGITS for name in others):
            raise InputError(
                "these are tiles that have to be stitched first",
                file=shown,
                expected="TIFF slices of one volume",
                found=f"folders {shortened(others)}",
                mend="stitch them, for example by TeraStitcher or BigStitcher, and give the result",
            )
        raise InputError(
            "there are no TIFF slices",
            file=shown,
            expected="files named *.tif or *.tiff",
            found=shortened(others) or "nothing",
            mend="give the folder that holds the slices" + _with_slices(shown),
        )
    for name in tiffs:
        if not name.isprintable():  # control characters, and bytes that are no UTF-8
            raise InputError(
                "the name of a slice is no plain text",
                file=str(Path(shown) / name),
                expected="printable characters, in UTF-8",
                mend="rename the file",
            )
    warnings = []
    if hidden:
        warnings.append(f"{len(hidden)} hidden files are ignored: {shortened(hidden)}")
    if others:
        warnings.append(
            f"{len(others)} entries are no TIFF files and are ignored: {shortened(others)}"
        )
    return tiffs, tuple(warnings)


def _with_slices(folder: str) -> str:
    """The first of the folders below that has slices, for a message; links are not followed."""
    for path, _, names in islice(os.walk(folder), _LOOKED_AT):
        if any(name.lower().endswith(TIFF_SUFFIXES) for name in names):
            return f", such as {shlex.quote(path)}"
    return ""


def _audit_slice(path: str, is_first: bool) -> _Audited:
    with open_regular(path) as file, strict(path):
        size = size_of(file)
        chain = page_offsets(file, size, path)
        page, thumbnails = _only_page(file, chain, path)
        header = check_page(page, size, path, alone=True)
        if page.subifds is None:  # else a pyramid, whose lower levels are not counted
            used = sum(map(used_bytes, (page, *thumbnails)))
            check_unused(page, used, stored_bytes(page), size, path)
        notes = (*header.notes, *chain.notes, *thumbnail_notes(len(thumbnails)))
        pixels = plain_pixels(page, header)
        if not is_first:
            return _Audited(header, size, UNKNOWN, {}, notes, pixels)
        voxels, planes = page_voxel_size(page, path), page_set(page, path)
        return _Audited(header, size, voxels, planes, notes, pixels)


def _only_page(file: BinaryIO, chain: Chain, path: str) -> tuple[TiffPage, list[TiffPage]]:
    """The page of a slice, and its thumbnails."""
    tiff = open_tiff(file, path)
    page, thumbnails = tiff.pages.first, []
    images = max(1, declared_images(page, path))
    for index, offset in enumerate(chain.offsets[1:], start=1):
        tiff.filehandle.seek(offset)
        more = TiffPage(tiff, index)
        if not is_thumbnail(more, page):
            images = max(images, len(chain.offsets))
            break
        thumbnails.append(more)
    if images != 1:
        raise InputError(
            "a slice file holds more than one image",
            file=path,
            expected="one page per file",
            found=f"{images} images",
            mend="give that file itself as the volume, or split it into slices",
        )
    return page, thumbnails
