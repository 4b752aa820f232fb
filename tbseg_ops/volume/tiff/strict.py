"""Running tifffile so that nothing which it only logs, pads or guesses gets through.

tifffile repairs what it can: a cut page chain gives fewer pages, a missing page zeros, and a line
in the log. Here every such line is an error, and every exception of the parser or of a codec is an
InputError that names the file.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tbseg_ops.errors import InputError, ResourceError, TbsegError, from_system

_collected: ContextVar[list[str] | None] = ContextVar("tbseg_tifffile_log", default=None)

# Descriptions in an odd encoding, ImageJ's overlays, and private tags that cannot be read (from
# 33000 on: those below may tell of pixels) do not touch the pixels. Sizes of strips that are
# missing or too many are mended or refused by check_segments.
_HARMLESS = re.compile(
    r"missing (data )?ByteCounts tag|incorrect Strip(ByteCounts|Offsets) count"
    r"|coercing invalid ASCII|tifffile\.imagej_metadata|parsing GDAL_NODATA"
    r"|TiffTag (3[3-9]\d{3}|[4-6]\d{4}) @\d+> invalid (value offset|data type)"
)


def _collect(record: logging.LogRecord) -> bool:
    lines = _collected.get()
    if lines is None:
        return True
    if record.levelno >= logging.WARNING:
        lines.append(record.getMessage())
    return False


_logger = logging.getLogger("tifffile")
_logger.addFilter(_collect)
_logger.setLevel(logging.WARNING)  # whatever is shown of log lines: what is not made is not seen


@contextmanager
def strict(where: str, doing: str = "read") -> Iterator[None]:
    """Inside, what tifffile raises or logs becomes an InputError that names ``where``.

    Errors with an errno are the disk's, and too little memory is the machine's: ResourceError.
    Only lines logged by the calling thread are seen.
    """
    lines: list[str] = []
    token = _collected.set(lines)
    try:
        yield
    except TbsegError:
        raise
    except MemoryError as error:
        raise ResourceError("not enough memory for one slice", file=where) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise from_system(error, where) from error
        raise _refused(where, doing, f"{type(error).__name__}: {error}"[:300]) from error
    finally:
        _collected.reset(token)
    serious = [line for line in lines if not _HARMLESS.search(line)]
    if serious:
        raise _refused(where, doing, serious[0][:300])


def _refused(where: str, doing: str, found: str) -> InputError:
    return InputError(
        f"the TIFF file is damaged or of an unknown kind and cannot be {doing}",
        file=where,
        found=found,
        mend="copy or export the file again",
    )
