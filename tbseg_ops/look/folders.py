"""What may be looked at below some folders, for a person who picks a volume or a classifier."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tbseg_ops.errors import ConfigError, system_errors
from tbseg_ops.reference import TIFF_SUFFIXES, is_chunked

Kind = Literal["folder", "volume", "classifier"]

_MOST = 10_000  # entries of a folder that are looked at
_SHOWN = 1_000
_FEW = 8  # TIFF files that are shown each; more of them are slices
_ARRAYS = (".h5", ".hdf5", ".hdf", ".ims")


def listing(path: str, roots: Sequence[Path]) -> dict[str, Any]:
    """Folders and usable files in ``path``, which lies below one of ``roots``; "": the roots.

    ``slices``: how many TIFF files there are; each is among the entries if they are few. Hidden
    ones, links out of the roots and names that a path may not have are left out. ConfigError if
    the path lies elsewhere, or is no folder; InputError if it cannot be read.
    """
    real = [root.resolve() for root in roots]
    if not path:
        entries = [{"name": str(root), "path": str(root), "kind": "folder"} for root in real]
        return {"path": "", "parent": None, "slices": 0, "entries": entries, "more": False}
    with system_errors(path):
        here = Path(path).resolve()
        if not _is_inside(here, real) or not here.is_dir():
            raise ConfigError(
                "this folder is not one that can be looked at",
                file=path,
                expected="a folder below " + ", ".join(map(str, real)),
                mend="choose another one",
            )
        with os.scandir(here) as found:
            seen = list(islice(found, _MOST + 1))
    kinds = [(entry, kind) for entry in seen[:_MOST] if (kind := _kind(entry, real))]
    slices = [entry for entry, _ in kinds if entry.name.lower().endswith(TIFF_SUFFIXES)]
    if len(slices) > _FEW:
        kinds = [pair for pair in kinds if pair[0] not in slices]
    kinds.sort(key=lambda pair: (pair[1] != "folder", pair[0].name.lower()))
    return {
        "path": str(here),
        "parent": str(here.parent) if _is_inside(here.parent, real) else "",
        "slices": len(slices),
        "entries": [
            {"name": entry.name, "path": str(here / entry.name), "kind": kind}
            for entry, kind in kinds[:_SHOWN]
        ],
        "more": len(seen) > _MOST or len(kinds) > _SHOWN,
    }


def _is_inside(path: Path, real: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in real)


def _kind(entry: "os.DirEntry[str]", real: Sequence[Path]) -> Kind | None:
    """What an entry can be used for; nothing is opened."""
    if entry.name.startswith(".") or not entry.name.isprintable():
        return None
    with suppress(OSError):
        if entry.is_symlink() and not _is_inside(Path(entry.path).resolve(strict=True), real):
            return None
        mode = entry.stat().st_mode
        if stat.S_ISDIR(mode):
            return "volume" if is_chunked(entry.path) else "folder"
        if stat.S_ISREG(mode):
            suffix = Path(entry.name).suffix.lower()
            if suffix == ".ilp":
                return "classifier"
            return "volume" if suffix in (*TIFF_SUFFIXES, *_ARRAYS) else None
    return None
