"""Small copies of the image that cameras and editors leave in a file: not slices."""

from tifffile import TiffPage

_REDUCED = 1  # the bit of NewSubfileType


def is_thumbnail(page: TiffPage, full: TiffPage) -> bool:
    """Whether ``page`` says that it is a smaller copy of ``full``, and is smaller both ways."""
    return bool(
        page.subfiletype & _REDUCED
        and page.imagelength < full.imagelength
        and page.imagewidth < full.imagewidth
    )


def thumbnail_notes(count: int) -> tuple[str, ...]:
    """What is told of them, once for each volume."""
    return ("small copies of the images (thumbnails) in the file are ignored",) if count else ()
