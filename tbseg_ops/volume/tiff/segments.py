"""The strips or tiles of a TIFF page: are all of them in the file, and what else is in it?

How many bytes an uncompressed strip has follows from its rows, so a number that is not stored, is
0 or leads out of the file is mended where libtiff and tifffile mend it. What a page says twice, and
differently, is mended only if all of the pixels lie in one piece of just their size.
"""

from itertools import chain
from math import ceil
from operator import add

from tifffile import TiffPage

from tbseg_ops.errors import InputError

# Empty slices are compressed to less than what programs leave lying about in a file.
_SMALL = 2**16
_ENDS_ITSELF = (5, 8, 32946, 34925, 34926, 50000)  # compressions that tell where a strip ends
_OFFSETS, _SIZES = (324, 273), (325, 279)  # of tiles, of strips


def check_segments(page: TiffPage, size: int, where: str) -> tuple[str, ...]:
    """All strips or tiles are there, inside the file of ``size`` bytes, and long enough.

    The page has at least one pixel. Its sizes (``databytecounts``) become those that its strips
    have; the notes say if the file has others.
    """
    y, x = page.imagelength, page.imagewidth
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, y)
    columns = page.tilewidth if page.is_tiled else x
    if min(rows, columns) < 1 or (page.is_tiled and page.tiledepth != 1):
        raise _wrong(where, "strips or tiles of at least 1 x 1", f"{rows} x {columns}")
    wanted = planes * ceil(y / rows) * ceil(x / columns)
    offsets, counts = _stored(page, _OFFSETS), _stored(page, _SIZES)
    if not set(map(type, chain(offsets, counts))) <= {int}:
        raise _wrong(where, "whole numbers for offsets and sizes", "other numbers")
    # Tiles are stored whole, strips are cut at the last row; each row begins with a byte.
    row = ceil(columns * page.samplesperpixel // planes * page.bitspersample / 8)
    least = row * (wanted * rows if page.is_tiled else planes * y)
    plain = int(page.compression) == 1
    if not page.is_tiled and plain and len(offsets) != wanted:
        return _in_one_piece(page, offsets, counts, least, size, where)
    if len(offsets) != wanted or len(counts) not in (0, wanted):
        found = f"{len(offsets)} offsets, {len(counts)} sizes"
        raise _wrong(where, f"{wanted} strips or tiles", found)
    if min(offsets) < 8:
        raise InputError(
            "some strips or tiles are not stored, and would read as zeros",
            file=where,
            expected=f"{wanted} strips or tiles",
            found=f"{sum(offset < 8 for offset in offsets)} of them nowhere",
            mend="export the file again, with all of its parts (GDAL: SPARSE_OK=FALSE)",
        )
    if min(counts, default=0) < 1:
        page.databytecounts = _unsaid_size(page, wanted, offsets[0], least, size, where)
        return ("the size of the strip is not stored (StripByteCounts): that of its pixels counts",)
    page.databytecounts = counts
    if plain and sum(counts) < least:
        raise _wrong(where, f"{least} bytes of pixels", sum(counts))
    if max(map(add, offsets, counts)) <= size:
        return ()
    if not plain:
        end = max(map(add, offsets, counts))
        raise InputError(
            "the TIFF file is truncated, or says wrongly how large its strips or tiles are",
            file=where,
            expected=f"at least {end} bytes (the end of the last strip or tile)",
            found=f"{size} bytes",
            mend="copy or export the file again",
        )
    exact = _exact_sizes(page, wanted, planes, rows, row)
    for offset, count in zip(offsets, exact, strict=True):
        _check_end(offset + count, size, where)
    page.databytecounts = tuple(map(min, counts, exact))
    if sum(page.databytecounts) < least:
        raise _wrong(where, f"{least} bytes of pixels", sum(page.databytecounts))
    return ("strips or tiles are said to be larger than their pixels (StripByteCounts)",)


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


def _stored(page: TiffPage, tags: tuple[int, ...]) -> tuple[int, ...]:
    """The values of the first of these tags that is there: tifffile cuts and invents some."""
    found = next((value for tag in tags if (value := page.tags.valueof(tag)) is not None), ())
    return found if isinstance(found, tuple) else (found,)


def _exact_sizes(page: TiffPage, wanted: int, planes: int, rows: int, row: int) -> tuple[int, ...]:
    """Bytes of each uncompressed strip or tile; ``row``: of one of its rows."""
    if page.is_tiled:
        return (row * rows,) * wanted
    whole, left = divmod(page.imagelength, rows)
    return ((row * rows,) * whole + ((row * left,) if left else ())) * planes


def _in_one_piece(
    page: TiffPage,
    offsets: tuple[int, ...],
    counts: tuple[int, ...],
    least: int,
    size: int,
    where: str,
) -> tuple[str, ...]:
    """Uncompressed strips of another number than RowsPerStrip says, one behind the other."""
    ends = map(add, offsets, counts)
    joined = all(end == begin for end, begin in zip(ends, offsets[1:], strict=False))
    if not (len(offsets) == len(counts) and joined and sum(counts) == least and min(offsets) >= 8):
        raise _wrong(
            where,
            f"as many strips as RowsPerStrip ({page.rowsperstrip}) and the height"
            f" ({page.imagelength}) make",
            f"{len(offsets)} offsets, {len(counts)} sizes",
        )
    _check_end(offsets[0] + least, size, where)
    page.dataoffsets, page.databytecounts = offsets[:1], (least,)
    page.rowsperstrip = page.imagelength
    return ("RowsPerStrip is wrong, but the strips lie one behind the other: read as one",)


def _unsaid_size(
    page: TiffPage, wanted: int, offset: int, least: int, size: int, where: str
) -> tuple[int, ...]:
    """Of the only strip, whose size is missing or 0."""
    plain = int(page.compression) == 1
    if wanted != 1 or page.is_tiled or not (plain or int(page.compression) in _ENDS_ITSELF):
        raise InputError(
            "it is not said how large the strips or tiles of the pixels are",
            file=where,
            expected="the tag StripByteCounts or TileByteCounts, without zeros",
            found="no such tag, or zeros",
            mend="open the file in the program that wrote it, and export it again as plain TIFF",
        )
    if not plain:
        _check_end(offset + 1, size, where)
        return (size - offset,)
    _check_end(offset + least, size, where)
    return (least,)


def _check_end(end: int, size: int, where: str) -> None:
    if end > size:
        raise InputError(
            "the TIFF file is truncated",
            file=where,
            expected=f"at least {end} bytes (the end of the last strip or tile)",
            found=f"{size} bytes",
            mend="copy or export the file again",
        )


def _wrong(where: str, expected: object, found: object) -> InputError:
    return InputError(
        "the TIFF file contradicts itself: its strips or tiles do not fit its size",
        file=where,
        expected=expected,
        found=found,
        mend="export the file again",
    )
