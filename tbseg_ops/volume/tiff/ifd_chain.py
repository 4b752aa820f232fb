"""The chain of pages (IFDs) of a TIFF or BigTIFF file, followed without any leniency.

From the TIFF 6.0 and BigTIFF specifications: an 8 (16) byte header ends in the offset of the first
page; a page is a count, that many entries of 12 (20) bytes, and the offset of the next page, 0 for
the last one.
"""

import struct
from typing import BinaryIO, NamedTuple

from tbseg_ops.errors import InputError

_MAX_TAGS = 4096
_SMALLEST_PAGE = 6


class Chain(NamedTuple):
    """``offsets`` of the pages in file order, at least one.

    ``beyond``: where the next one should begin, if the chain leads out of the file.
    """

    offsets: list[int]
    beyond: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is told if that is taken for the end."""
        where = f"one more at byte {self.beyond}, beyond its end: nothing is there"
        return () if self.beyond is None else (f"the file tells of {where}",)


def page_offsets(file: BinaryIO, size: int, where: str) -> Chain:
    """The pages of a file of ``size`` bytes.

    InputError for an empty file, another format, a chain that breaks off in the file, runs in a
    circle or whose pages overlap so much that they cannot all be real. Whoever calls has to ask
    whether pages are missing, if it leads out of the file.
    """
    if size == 0:
        raise InputError("the file is empty", file=where, expected="a TIFF file", found="0 bytes")
    order, big = _header(file, where)
    count_format, entry, next_format = (
        (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
    )
    count_size, next_size = struct.calcsize(count_format), struct.calcsize(next_format)
    file.seek(8 if big else 4)
    (offset,) = struct.unpack(next_format, _exactly(file, next_size, where, "header"))
    offsets: list[int] = []
    seen: set[int] = set()
    room = size
    while offset:
        page = f"page {len(offsets)}"
        if offset in seen:
            raise InputError(
                "the chain of pages runs in a circle",
                file=where,
                found=f"{page} again at byte {offset}",
            )
        if offset >= size and offsets:
            return Chain(offsets, offset)
        if offset + _SMALLEST_PAGE > size:
            raise truncated_at(where, page, f"{size} bytes, the page begins at byte {offset}")
        file.seek(offset)
        (tags,) = struct.unpack(count_format, _exactly(file, count_size, where, page))
        if not 0 < tags <= _MAX_TAGS:
            raise InputError(
                "a page header is damaged",
                file=where,
                expected=f"1 to {_MAX_TAGS} tags",
                found=f"{tags} in {page}",
            )
        room -= count_size + tags * entry + next_size
        if room < 0:
            raise InputError(
                "the pages overlap",
                file=where,
                found=f"{page} and those before it take more than {size} bytes",
            )
        file.seek(offset + count_size + tags * entry)
        offsets.append(offset)
        seen.add(offset)
        (offset,) = struct.unpack(next_format, _exactly(file, next_size, where, page))
    if not offsets:
        raise InputError(
            "the TIFF file has no page", file=where, expected="at least one page", found="none"
        )
    return Chain(offsets)


def _header(file: BinaryIO, where: str) -> tuple[str, bool]:
    """Byte order ("<" or ">"), and whether this is a BigTIFF."""
    file.seek(0)
    magic = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(magic[:2])
    if order and len(magic) == 8:
        (version,) = struct.unpack(order + "H", magic[2:4])
        if version == 42:
            return order, False
        if version == 43 and struct.unpack(order + "HH", magic[4:8]) == (8, 0):
            return order, True
    raise InputError(
        "this is not a TIFF file",
        file=where,
        expected="a TIFF or BigTIFF header",
        found=f"the bytes {magic.hex(' ')}",
    )


def _exactly(file: BinaryIO, count: int, where: str, page: str) -> bytes:
    found = file.read(count)
    if len(found) != count:
        raise truncated_at(where, page, "the end of the file")
    return found


def truncated_at(where: str, page: str, found: str) -> InputError:
    """The error for a page that is not in the file."""
    return InputError(
        "the TIFF file is truncated",
        file=where,
        expected=f"the header of {page}",
        found=found,
        mend="copy or export the file again",
    )
