"""A volume as one TIFF file of many pages: TIFF, BigTIFF, ImageJ hyperstack, OME-TIFF.

Pages are read one by one; every page header is checked when the file is opened (tifffile itself
takes all pages to be like the first). The fingerprint of a slice is that of its decoded pixels.

A plan has audited its file: ``PlannedPages`` does it again only for whoever decodes slices, and not
for those who know where the pixels are.

Per case: one page is a volume with one slice. Channels as pages or as samples become c. Of several
time points one is chosen. Several images, thumbnails, files that are spread over others: refused by
name.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from tbseg_ops.errors import InputError
from tbseg_ops.limits import check_expansion, check_slice_bytes, check_slices
from tbseg_ops.volume.fingerprints import plane_digest
from tbseg_ops.volume.regular_files import (
    changed_since_audit,
    open_regular,
    open_unchanged,
    size_of,
)
from tbseg_ops.volume.source import (
    InFiles,
    Slices,
    VolumeInfo,
    check_range,
    check_same_volume,
    pixels_of,
)
from tbseg_ops.volume.tiff.ifd_chain import page_offsets, truncated_at
from tbseg_ops.volume.tiff.layout import Layout, find_layout, tells_images
from tbseg_ops.volume.tiff.page import (
    PageHeader,
    check_page,
    check_same,
    decode,
    header_warnings,
    in_voxels,
    open_tiff,
    plain_pixels,
)
from tbseg_ops.volume.tiff.segments import check_unused, stored_bytes, used_bytes
from tbseg_ops.volume.tiff.strict import strict
from tbseg_ops.volume.tiff.thumbnails import is_thumbnail, thumbnail_notes


class PagesSource(InFiles):
    """One TIFF file, opened anew for each call, so threads may share it. Can be pickled."""

    def __init__(self, path: str, *, time: int | None = None, as_mask: bool = False) -> None:
        """``time``: of a file of several time points, the one that is the volume."""
        self._path = path
        self.is_plain = True  # unless a page says otherwise
        with open_regular(path) as file, strict(path):
            self._size = size_of(file)
            chain = page_offsets(file, self._size, path)
            self._offsets = np.array(chain.offsets, np.uint64)
            tiff = open_tiff(file, path)
            self._header, stored, used, notes = self._audit(tiff)
            first = tiff.pages.first
            self._layout: Layout = find_layout(first, len(self._offsets), path, time)
            images = self._layout.images
            if chain.beyond is not None:
                self._check_complete(first, len(chain.offsets), chain.beyond)
            if self._layout.contiguous:
                stored, used = stored * images, used + stored * (images - 1)
            check_unused(first, used, stored // images, self._size, path)
            self._first_pixel = int(first.dataoffsets[0])
            self._page_dtype = np.dtype(self._header.stored).newbyteorder(tiff.byteorder)
            self._page_samples_last = first.planarconfig == 1
        self._check_channels()
        if self._layout.contiguous and self._header.bits % 8:
            raise InputError(
                "pixels that share bytes are only read with a page for each image",
                file=path,
                expected="pixels of 8, 16, 32 or 64 bits",
                found=f"{self._header.bits} bits, {images} images in one page",
                mend="export the file again, or write a file for each slice",
            )
        depth, planes = self._layout.pages.shape
        self.is_plain &= planes == 1
        check_slices(depth, path)
        name = Path(path).name
        self.slices: Sequence[str] = tuple(
            f"{name} page {page}" for page in self._layout.pages[:, 0]
        )
        self.warnings: Sequence[str] = (
            *self._layout.warnings,
            *chain.notes,
            *header_warnings(self._header, notes),
        )
        self.info = VolumeInfo(
            shape=(depth, *self._header.shape),
            channels=planes * self._header.channels,
            dtype=self._header.dtype,
            voxel_size=self._layout.voxels.size,
            unit=self._layout.voxels.unit,
            kind="tiff-file",
        )
        check_slice_bytes(self.info.slice_bytes, path)
        if not as_mask:  # of a mask, much is constant; its shape is that of an audited volume
            check_expansion(self.info.nbytes, min(stored, self._size), path)

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``. Only the pages of these slices are read."""
        check_range(z0, z1, self.info.shape[0])
        array = np.empty((z1 - z0, *self.info.shape[1:], self.info.channels), self.info.dtype)
        with self.open(z0) as file, strict(self._path, "decoded"):
            tiff = open_tiff(file, self._path)
            places = [self._read_slice(tiff, file, z, array[z - z0]) for z in range(z0, z1)]
        found = tuple(plane_digest(plane) for plane in array)
        for z, fingerprint in enumerate(found, start=z0):
            self._check_planned(z, fingerprint, planned)
        return Slices(array, found, pixels_of(places))

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """See ``Source.fingerprints``. Decodes slice by slice."""
        check_range(z0, z1, self.info.shape[0])
        return tuple(self.read(z, z + 1).fingerprints[0] for z in range(z0, z1))

    def path(self, z: int) -> str:
        """See ``InFiles.path``."""
        return self._path

    def open(self, z: int) -> BinaryIO:
        """See ``InFiles.open``."""
        return open_unchanged(self._path, self._size)

    def _audit(self, tiff: TiffFile) -> tuple[PageHeader, int, int, list[str]]:
        """The header that all pages share, their bytes of pixels, all their bytes, and notes.

        A page with further pages below it (a pyramid) counts as the whole file. Thumbnails are
        taken out of ``_offsets``.
        """
        header: PageHeader | None = None
        full: TiffPage | None = None
        stored = used = 0
        kept: list[int] = []
        notes: dict[str, None] = {}
        for index in range(len(self._offsets)):
            with strict(f"{self._path} page {index}"):
                page = self._page(tiff, index)
                if full is not None and is_thumbnail(page, full):
                    used += used_bytes(page)
                    continue
                found = check_page(page, self._size, f"{self._path} page {index}")
            header, full = header or found, full or page
            kept.append(index)
            notes.update(dict.fromkeys(found.notes))
            check_same(found, header, f"{self._path} page {index}", "page 0")
            self.is_plain &= plain_pixels(page, found) is not None
            stored += stored_bytes(page)
            used += used_bytes(page) if page.subifds is None else self._size
        assert header is not None  # page_offsets gives at least one
        thumbnails = thumbnail_notes(len(self._offsets) - len(kept))
        self._offsets = self._offsets[kept]
        return header, stored, used, [*notes, *thumbnails]

    def _check_complete(self, first: TiffPage, pages: int, beyond: int) -> None:
        """A chain that leads out of the file: only if the file says that these pages are all."""
        if self._layout.contiguous or not tells_images(first, pages, self._path):
            found = f"{self._size} bytes, the page begins at byte {beyond}"
            raise truncated_at(self._path, f"page {pages}", found)

    def _page(self, tiff: TiffFile, index: int) -> TiffPage:
        tiff.filehandle.seek(int(self._offsets[index]))
        return TiffPage(tiff, index)

    def _check_channels(self) -> None:
        if self._layout.pages.shape[1] > 1 and self._header.channels > 1:
            raise InputError(
                "the file has channels in two ways",
                file=self._path,
                expected="channels as pages, or as samples of a page",
                found=f"{self._layout.pages.shape[1]} pages of {self._header.channels} samples",
                mend="split the channels",
            )

    def _read_slice(
        self, tiff: TiffFile, file: BinaryIO, z: int, into: NDArray[Any]
    ) -> tuple[int, str] | None:
        """Slice z into an array (y, x, c); where its pixels lie, if they do as they are."""
        planes, place = self._layout.pages[z], None
        for c, index in enumerate(planes):
            where = f"{self._path} page {index}"
            if self._layout.contiguous:
                pixels = self._raw_image(file, int(index), where)
                place = self._first_pixel + int(index) * pixels.nbytes, self._page_dtype.str
            else:
                pixels, place = self._page_pixels(tiff, int(index), where)
            samples = pixels.shape[2]
            into[:, :, c * samples : (c + 1) * samples] = pixels
        return place if self.is_plain else None

    def _page_pixels(
        self, tiff: TiffFile, index: int, where: str
    ) -> tuple[NDArray[Any], tuple[int, str] | None]:
        """The pixels of a page, (y, x, c), and where they lie: see ``plain_pixels``."""
        with strict(where, "decoded"):
            page = self._page(tiff, index)
            header = check_page(page, self._size, where)
            if header != self._header:
                raise changed_since_audit("page", where, self._header, header)
            return decode(page, header, where), plain_pixels(page, header)

    def _raw_image(self, file: BinaryIO, index: int, where: str) -> NDArray[Any]:
        """Image ``index`` behind the only page, (y, x, c)."""
        nbytes = self._header.stored_nbytes
        file.seek(self._first_pixel + index * nbytes)
        content = file.read(nbytes)
        if len(content) != nbytes:
            raise InputError(
                "the TIFF file is truncated",
                file=where,
                expected=f"{nbytes} bytes",
                found=f"{len(content)} bytes",
            )
        pixels = in_voxels(np.frombuffer(content, self._page_dtype), self._header)
        y, x = self._header.shape
        if self._page_samples_last:
            return pixels.reshape(y, x, self._header.channels)
        return np.moveaxis(pixels.reshape(self._header.channels, y, x), 0, -1)


class PlannedPages(InFiles):
    """The one TIFF file of a plan, whose pages are looked at when slices are read."""

    def __init__(self, path: str, names: Sequence[str], info: VolumeInfo, time: int | None) -> None:
        """``names`` of the slices and ``info``: as in the plan."""
        self._path, self._time = path, time
        self.slices, self.info = names, info

    def read(self, z0: int, z1: int, planned: Sequence[str] | None = None) -> Slices:
        """See ``Source.read``. InputError also if the volume is another than that of the plan."""
        return self._audited.read(z0, z1, planned)

    def fingerprints(self, z0: int, z1: int) -> tuple[str, ...]:
        """See ``Source.fingerprints``."""
        return self._audited.fingerprints(z0, z1)

    def path(self, z: int) -> str:
        """See ``InFiles.path``."""
        return self._path

    def open(self, z: int) -> BinaryIO:
        """See ``InFiles.open``."""
        return open_regular(self._path)

    @cached_property
    def _audited(self) -> PagesSource:
        source = PagesSource(self._path, time=self._time)
        check_same_volume(source.info, self.info, self._path)
        return source
