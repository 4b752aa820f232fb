"""A list of slices: a text file of paths, one a line, in the order in which they are meant."""

import os
from collections import Counter
from pathlib import Path

from tbseg_ops.errors import InputError, system_errors
from tbseg_ops.limits import MAX_SLICES
from tbseg_ops.reference import TIFF_SUFFIXES
from tbseg_ops.volume.order import shortened
from tbseg_ops.volume.regular_files import open_regular

_MOST_BYTES = 256 * 2**20


def read_list(path: str) -> tuple[str, list[str]]:
    """A folder, and relative to it the slices in their order; a relative path begins at the list.

    InputError for what is no text, for no slice, for one that is there twice or is no TIFF file.
    """
    with open_regular(path) as file, system_errors(path):
        content = file.read(_MOST_BYTES + 1)
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except ValueError as error:
        raise _wrong(path, "text in UTF-8, a path in each line", str(error)) from None
    here = Path(path).parent
    paths = [os.path.abspath(here / line) for line in lines if line]  # noqa: PTH100 - keeps ".."
    if not 1 <= len(paths) <= MAX_SLICES:
        raise _wrong(path, f"1 to {MAX_SLICES} paths", len(paths))
    if others := [each for each in paths if not each.lower().endswith(TIFF_SUFFIXES)]:
        raise _wrong(path, "TIFF slices only", shortened(others))
    if len(set(paths)) < len(paths):
        twice = [each for each, count in Counter(paths).items() if count > 1]
        raise _wrong(path, "each slice once", f"{shortened(twice)} several times")
    folder = os.path.commonpath([Path(each).parent for each in paths])
    return folder, [os.path.relpath(each, folder) for each in paths]


def _wrong(path: str, expected: object, found: object) -> InputError:
    return InputError(
        "this is no list of slices",
        file=path,
        expected=expected,
        found=found,
        mend="write the path of a slice in each line, in the order z = 0, 1, ...",
    )
