"""What a user writes for a volume, taken apart.

folder                 its TIFF slices (.tif, .tiff in any case)
'folder/img_*.tif'     the TIFF slices that match (any glob pattern, also over several folders)
'folder/img_{z}.tif'   the TIFF slices that match, in the order of the number in the place of {z}
slices.txt             the TIFF slices whose paths it holds, one a line, in that order
stack.tif              one multi-page TIFF file, whatever its extension
file.h5:/path          a dataset of an HDF5 file (also file.h5/path, as ilastik writes it); without
                       the path, the only one of 2 to 5 axes, or that of Imaris or BigDataViewer
volume.zarr            a folder of Zarr, OME-Zarr or N5, or of an array in it

Nothing heavy is imported here: a form that proposes a run folder needs no volume to be opened.
"""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tbseg_ops.errors import system_errors

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The first four bytes of a TIFF file, classic or BigTIFF, of either byte order."""


TIFF_SUFFIXES = (".tif", ".tiff")
"""How the names of slices end, in any case."""

NUMBER = "{z}"
"""Stands in a pattern where the names have the number of the slice."""

_OF_N5 = "attributes.json"
CHUNKED_MARKS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", _OF_N5)
"""Files by which a folder is one of Zarr or N5."""


def is_chunked(folder: str | Path) -> bool:
    """Whether a folder is an array, or a group of them, of Zarr or N5.

    N5's mark is a name that others give, too, to a file beside slices: there it is none.
    """
    found = [mark for mark in CHUNKED_MARKS if Path(folder, mark).is_file()]
    return bool(found) and (found != [_OF_N5] or not _has_slices(folder))


def _has_slices(folder: str | Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(TIFF_SUFFIXES) for entry in entries)


def _deepest(text: str) -> Path:
    """The folder that is there, of those above a path: it counts to the letter."""
    return next((p for p in Path(text).parents if os.path.isdir(p)), Path())  # noqa: PTH112


def is_pattern(text: str) -> bool:
    """Whether a path that is not there stands for several."""
    return NUMBER in text or glob.has_magic(text)


@dataclass(frozen=True, slots=True)
class Reference:
    """``file``: the folder, pattern or file; ``dataset``: what stands behind "file.h5:", if given.

    ``str()`` gives what was written, to the letter.
    """

    file: str
    dataset: str | None
    kind: Literal["folder", "pattern", "list", "file"]

    @classmethod
    def of(cls, text: str) -> "Reference":
        """What is there decides: names may hold ":/" and the signs of a pattern.

        Of what is not there, a sign of a pattern makes a pattern, ":/" a dataset, a suffix a file.
        InputError or ResourceError if the file system cannot be asked.
        """
        with system_errors(text):
            if not os.path.lexists(text):
                bare = text.strip(" \t\"'")  # as it was pasted
                text = bare if bare and os.path.lexists(bare) else text
            if Path(text).is_dir():
                return cls(text, None, "folder")
            if os.path.lexists(text):
                return cls(text, None, "list" if text.lower().endswith(".txt") else "file")
            at = text.find(":/")
            while at >= 0:
                file = text[:at]
                if os.path.lexists(file) and not Path(file).is_dir():
                    return cls(file, text[at + 1 :], "file")
                at = text.find(":/", at + 1)
            for parent in Path(text).parents:  # as ilastik writes it: file.h5/path
                if parent.is_file():
                    return cls(str(parent), text[len(str(parent)) :], "file")
                if os.path.lexists(parent):
                    break
        if is_pattern(str(Path(text).relative_to(_deepest(text)))):
            return cls(text, None, "pattern")
        file, colon, dataset = text.partition(":/")
        if colon:
            return cls(file, f"/{dataset}", "file")
        return cls(text, None, "file" if Path(text).suffix else "folder")

    def __str__(self) -> str:
        return self.file if self.dataset is None else f"{self.file}:{self.dataset}"

    def absolute(self) -> "Reference":
        """With an absolute path, its ``..`` resolved by name; the path of the dataset is kept."""
        file = os.path.abspath(self.file)  # noqa: PTH100 - Path.absolute keeps ".."
        return Reference(file, self.dataset, self.kind)

    @property
    def fixed(self) -> Path:
        """The file or folder; of a pattern, the folder above all that is variable in it."""
        if self.kind != "pattern":
            return Path(self.file)
        there = _deepest(self.file)
        parents = Path(self.file).parents
        return next(p for p in parents if p == there or not is_pattern(str(p.relative_to(there))))

    @property
    def folder(self) -> Path:
        """The folder in which the volume lies: runs are put there, beside it."""
        several = self.kind == "pattern" and self.fixed != Path(self.file).parent
        return self.fixed if several else self.fixed.parent

    @property
    def name(self) -> str:
        """A name for what is made of it: that of the folder, or of the file without its suffix."""
        return self.fixed.stem if self.kind in ("file", "list") else self.fixed.name
