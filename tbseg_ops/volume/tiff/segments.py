"""The strips or tiles of a TIFF page: are all of them in the file, and what else is in it?"""

from itertools import chain
from math import ceil
from operator import add

from tifffile import TiffPage

from tbseg_ops.errors import InputError

# Empty slices are compressed to less than what programs leave lying about in a file.
_SMALL = 2**16


def check_segments(page: TiffPage, size: int, where: str) -> None:
    """All strips or tiles are there, inside the file of ``size`` bytes, and long enough.

    The page has at least one pixel.
    """
    y, x = page.imagelength, page.imagewidth
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    rows = page.tilelength if page.is_tiled else page.rowsperstrip
    columns = page.tilewidth if page.is_tiled else x
    if min(rows, columns) < 1 or (page.is_tiled and page.tiledepth != 1):
        raise _cut(where, "strips or tiles of at least 1 x 1", f"{rows} x {columns}")
    wanted = planes * ceil(y / rows) * ceil(x / columns)
    offsets, counts = page.dataoffsets, page.databytecounts
    if not len(offsets) == len(counts) == wanted:
        found = f"{len(offsets)} offsets, {len(counts)} sizes"
        raise _cut(where, f"{wanted} strips or tiles", found)
    if not set(map(type, chain(offsets, counts))) <= {int}:
        raise _cut(where, "whole numbers for offsets and sizes", "other numbers")
    if min(counts) < 1 or min(offsets) < 8:
        raise _cut(where, f"{wanted} strips or tiles", "some are not stored and read as zeros")
    end = max(map(add, offsets, counts))
    if end > size:
        raise _cut(where, f"at least {end} bytes (the end of the last strip or tile)", size)
    # Tiles are stored whole, strips are cut at the last row; each row begins with a byte.
    row = ceil(columns * page.samplesperpixel // planes * page.bitspersample / 8)
    least = row * (wanted * rows if page.is_tiled else planes * y)
    if int(page.compression) == 1 and sum(counts) < least:
        raise _cut(where, f"{least} bytes of pixels", sum(counts))


def stored_bytes(page: TiffPage) -> int:
    """Bytes of the (compressed) pixels in the file."""
    return sum(page.databytecounts)


def used_bytes(page: TiffPage) -> int:
    """Bytes of the file that this page accounts for: pixels, tags and their values."""
    tags = list(page.tags)
    return stored_bytes(page) + sum(tag.valuebytecount for tag in tags) + 20 * len(tags)


def check_unused(page: TiffPage, used: int, one_image: int, size: int, where: str) -> None:
    """InputError if the file has room for another image that no page tells of.

    ``one_image``: the stored bytes of an image like ``page``. A damaged description or page chain
    hides images in this way, and nothing else would show that the volume is too short.
    """
    if int(page.compression) != 1:
        one_image = max(one_image, _SMALL)
    if size - used >= one_image:
        raise InputError(
            "the file is larger than its pages: images are hidden in it",
            file=where,
            expected=f"about {used} bytes",
            found=f"{size} bytes",
            mend="export the file again",
        )


def _cut(where: str, expected: object, found: object) -> InputError:
    return InputError(
        "the TIFF file is truncated",
        file=where,
        expected=expected,
        found=found,
        mend="copy or export the file again",
    )
