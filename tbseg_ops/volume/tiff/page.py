"""One page of a TIFF file: is it a slice that can be read exactly, and its pixels.

Accepted: numbers of up to 64 bits, packed bits (1, 10, 12, 14), any number of samples, strips or
tiles, no compression or a lossless one, any predictor that fits, either byte order, classic and
BigTIFF.
MINISWHITE pixels are taken as stored (ilastik and ImageJ's raw values do the same).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod
from operator import add
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from tbseg_ops.errors import InputError
from tbseg_ops.limits import check_slice_bytes
from tbseg_ops.volume.source import VoxelType
from tbseg_ops.volume.tiff.segments import check_segments
from tbseg_ops.volume.types import EXPECTED, note_of, read_as

_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    8: "deflate",
    32773: "packbits",
    32946: "deflate",
    34925: "LZMA",
    34926: "zstd",
    50000: "zstd",
}
_PHOTOMETRICS = {0: "MINISWHITE", 1: "MINISBLACK", 2: "RGB"}
_PALETTE = 3
_PREDICTORS = (1, 2, 3)
_PACKED = {"bool": (1,), "uint16": (10, 12, 14)}  # bits of pixels that share bytes
_MEANINGFUL = (b"ImageJ=", b"SCIFIO=", b'{"shape"', b"shape=", b"<?xml", b"<OME")
_VENDORS = (
    "lsm",
    "stk",
    "fluoview",
    "ndpi",
    "scanimage",
    "scn",
    "svs",
    "qpi",
    "bif",
    "avs",
    "eer",
    "philips",
    "indica",
    "sis",
    "mdgel",
)

# Of one page a file: their tags tell of other planes, of the stage, and of how values are shown.
_PLAIN_ALONE = ("fluoview", "scanimage", "sis", "mdgel")


@dataclass(frozen=True, slots=True)
class PageHeader:
    """What must be the same in all slices of a volume. Byte order, compression, notes may differ.

    ``stored``: numpy's name of the type that pixels decode to, before they become ``dtype``.
    """

    shape: tuple[int, int]
    channels: int
    dtype: VoxelType
    stored: str
    bits: int
    white_is_zero: bool
    orientation: int
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        y, x = self.shape
        extra = ", MINISWHITE" if self.white_is_zero else ""
        extra += f", orientation {self.orientation}" if self.orientation != 1 else ""
        return f"{y} x {x} (y, x), {self.channels} channels, {self.stored}{extra}"

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.channels * np.dtype(self.dtype).itemsize

    @property
    def stored_nbytes(self) -> int:
        """Of an uncompressed page whose bits are not packed."""
        return prod(self.shape) * self.channels * np.dtype(self.stored).itemsize


def open_tiff(file: BinaryIO, where: str) -> TiffFile:
    """tifffile's view of an open file, without the repairs that it makes for single vendors."""
    file.seek(0)  # tifffile takes the current position for the beginning
    return TiffFile(file, name=where, is_lsm=False, is_ndpi=False, is_scanimage=False)


def check_page(page: TiffPage, size: int, where: str, *, alone: bool = False) -> PageHeader:
    """What ``page``, of a file of ``size`` bytes, holds.

    ``alone``: it is the only page, which vendors' tags say nothing of that its own do not.
    InputError for everything that is not sure to be decoded exactly and completely.
    """
    notes = _check_kind(page, where, alone)
    dtype, stored = _voxel_type(page, where)
    y, x = page.imagelength, page.imagewidth
    samples = page.samplesperpixel
    if not all(isinstance(n, int) and n >= 1 for n in (y, x, samples)):
        found = f"{y} x {x}, {samples} samples"
        raise InputError("a page has no pixels", file=where, expected="at least 1 x 1", found=found)
    white = int(page.photometric) == 0
    bits = page.bitspersample
    header = PageHeader((y, x), samples, dtype, stored, bits, white, _orientation(page), notes)
    check_slice_bytes(header.nbytes, where)
    return replace(header, notes=(*notes, *check_segments(page, size, where)))


def check_same(header: PageHeader, expected: PageHeader, where: str, first: str) -> None:
    """InputError if a slice differs from the first one."""
    if header != expected:
        raise InputError(
            "the slices are not all alike",
            file=where,
            expected=f"{expected}, as in {first}",
            found=str(header),
            mend="choose the slices with a glob pattern, or convert those that differ",
        )


def header_warnings(header: PageHeader, notes: Iterable[str]) -> tuple[str, ...]:
    """What somebody who looks at the result should know about the slices.

    ``notes`` of all their headers, each once.
    """
    found = [*note_of(header.stored), *notes]
    if header.bits % 8 and header.stored != "bool":
        found.append(f"pixels of {header.bits} bits: 0 to {2**header.bits - 1}")
    if header.white_is_zero:
        found.append(
            "the pixels are stored as MINISWHITE; their values are taken as stored, not inverted"
        )
    if header.orientation != 1:
        found.append(
            f"the orientation tag ({header.orientation}) is not applied: rows and columns are "
            "taken as stored"
        )
    return tuple(found)


def decode(page: TiffPage, header: PageHeader, where: str) -> NDArray[Any]:
    """The pixels, (y, x, c) in native byte order. Call inside ``strict``."""
    pixels = page.asarray(squeeze=False, maxworkers=1)
    # squeeze=False: (separate samples, depth, y, x, contiguous samples), one of the two is 1.
    separate, _, y, x, contiguous = pixels.shape
    pixels = (
        pixels.reshape(y, x, contiguous)
        if separate == 1
        else np.moveaxis(pixels[:, 0, :, :, 0], 0, -1)
    )
    if pixels.shape != (*header.shape, header.channels) or pixels.dtype != np.dtype(header.stored):
        raise InputError(
            "a page does not decode to what its header says",
            file=where,
            expected=header,
            found=f"{pixels.shape} {pixels.dtype}",
        )
    return in_voxels(pixels, header)


def plain_pixels(page: TiffPage, header: PageHeader) -> tuple[int, str] | None:
    """Where the pixels of a page begin, and numpy's name of their type there.

    None unless they lie in the file in one piece, just as ``decode`` gives them.
    """
    starts, counts = page.dataoffsets, page.databytecounts
    ends = map(add, starts, counts)
    plain = (
        int(page.compression) == 1
        and int(page.predictor) == 1
        and not page.is_tiled
        and (page.planarconfig == 1 or header.channels == 1)
        and header.stored == header.dtype
        and header.bits == 8 * np.dtype(header.dtype).itemsize
        and sum(counts) == header.nbytes
        and all(end == start for end, start in zip(ends, starts[1:], strict=False))
    )
    dtype = np.dtype(header.dtype).newbyteorder(page.parent.byteorder)
    return (int(starts[0]), dtype.str) if plain else None


def in_voxels(pixels: NDArray[Any], header: PageHeader) -> NDArray[Any]:
    """Pixels of the stored type in that of the volume; beyond float32 they are infinite."""
    with np.errstate(over="ignore"):
        return pixels.astype(header.dtype, copy=False)


def _check_kind(page: TiffPage, where: str, alone: bool) -> tuple[str, ...]:
    """Notes of what is taken as it is stored."""
    notes = []
    for vendor in _VENDORS:
        if getattr(page, f"is_{vendor}"):
            if alone and vendor in _PLAIN_ALONE:
                notes.append(f"tags of {vendor} are there, and not obeyed: pixels as stored")
                continue
            raise _refused(
                "a vendor's variant of TIFF",
                where,
                "plain TIFF, ImageJ or OME-TIFF",
                vendor,
                "export it as TIFF or OME-TIFF",
            )
    if page.subfiletype & 0b101:
        raise _refused(
            "a page is a thumbnail or a mask",
            where,
            "full images only (NewSubfileType 0)",
            page.subfiletype,
            "export the image without thumbnails",
        )
    if int(page.photometric) == _PALETTE and _is_ramp(page):
        notes.append("the palette is a ramp of one colour: pixels as stored")
    elif int(page.photometric) not in _PHOTOMETRICS:
        raise _refused(
            "the colours of this TIFF have no direct values",
            where,
            "greyscale or RGB",
            getattr(page.photometric, "name", page.photometric),
            "convert the slices to greyscale or RGB",
        )
    if int(page.compression) not in _COMPRESSIONS:
        raise _refused(
            "this compression is lossy or not supported",
            where,
            ", ".join(sorted(set(_COMPRESSIONS.values()))),
            getattr(page.compression, "name", page.compression),
            "convert the slices, for example to deflate",
        )
    description = page.tags.valueof(270)
    if isinstance(description, bytes) and description.startswith(_MEANINGFUL):
        # Undecodable text; elsewhere harmless, but here it says how many images there are.
        raise _refused(
            "the description of the images is damaged",
            where,
            "a text",
            description[:40],
            "export the file again",
        )
    if page.imagedepth != 1 or page.fillorder != 1:
        raise _refused(
            "the page is of a rare kind",
            where,
            "depth 1, fill order 1",
            f"{page.imagedepth}, {page.fillorder}",
            "convert the slices to plain TIFF",
        )
    return tuple(notes)


def _is_ramp(page: TiffPage) -> bool:
    """Whether the palette shows each value as so much of one colour, or of white."""
    colours = page.colormap
    if colours is None or colours.ndim != 2 or colours.shape[0] != 3 or colours.shape[1] < 2:
        return False
    ramp = np.arange(colours.shape[1], dtype=np.float64) * 65535 / (colours.shape[1] - 1)
    full = [bool((np.abs(c - ramp) <= 65535 / colours.shape[1]).all()) for c in colours]
    dark = [not c.any() for c in colours]
    return any(full) and all(a or b for a, b in zip(full, dark, strict=True))


def _voxel_type(page: TiffPage, where: str) -> tuple[VoxelType, str]:
    """What pixels are read as, and numpy's name of what they decode to."""
    found, bits = page.dtype, page.bitspersample
    stored = "" if found is None else found.newbyteorder("=").name
    packed = bits in _PACKED.get(stored, ())
    name = read_as(stored)
    if found is not None and name is not None and (packed or bits == found.itemsize * 8):
        predictor = int(page.predictor)
        fits = predictor == 1 if packed else predictor != 3 or found.kind == "f"
        if predictor in _PREDICTORS and fits:
            return name, stored
        raise _refused(
            "the predictor does not fit the pixels",
            where,
            _PREDICTORS,
            predictor,
            "convert the slices to plain TIFF",
        )
    kind = f"{found}" if found is not None else "an unknown type"
    raise _refused(
        "pixels of this type cannot be classified",
        where,
        EXPECTED,
        f"{kind} ({page.bitspersample} bits per sample)",
        "convert the slices to one of these types",
    )


def _orientation(page: TiffPage) -> int:
    value = page.tags.valueof(274, 1)
    return int(value) if isinstance(value, int) else 0


def _refused(what: str, where: str, expected: object, found: object, mend: str) -> InputError:
    return InputError(what, file=where, expected=expected, found=found, mend=mend)
