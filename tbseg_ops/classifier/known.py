"""What was read of a classifier, kept for whoever is given the same bytes again.

Reading an .ilp takes a quarter of a second of a processor: hundreds of small datasets, each looked
at before it is read, and texts at arm's length. Every process of a run needs it. What one has read
lies in the user's cache folder, named by the digest of the file's bytes and of the sources that
read them: it is never taken for another file, nor for what another version would make of it. What
is damaged or cannot be kept there is read again.
"""

import hashlib
import io
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import read_array, write_array
from numpy.typing import NDArray

from tbseg_ops import hdf5
from tbseg_ops.classifier.forests import Forest
from tbseg_ops.errors import TbsegError
from tbseg_ops.storage.cache import cache_home, sources_digest
from tbseg_ops.storage.sealed import get_sealed, put_sealed
from tbseg_ops.storage.small_files import read_at_most

_MOST_BYTES = 64 << 20  # of a project: beyond that its digest takes longer than it is worth
_MOST_KEPT = 32  # classifiers; those that were kept first go
_ARRAYS = [field.name for field in fields(Forest) if field.name != "columns"]


class Known:
    """What is known of the project at ``path`` as it is now; it need not be there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = self._named()

    def get(self) -> tuple[str, tuple[Forest, ...]] | None:
        """What was put for a file of the same bytes; None if nothing was."""
        if self._file is None:
            return None
        with suppress(OSError, TbsegError, ValueError):
            data = get_sealed(self._file)
            if data is not None:
                return _unpacked(data)
        return None

    def put(self, passport: str, forests: tuple[Forest, ...]) -> None:
        """Keep what was just read, the passport as JSON, unless the file has changed meanwhile."""
        if self._file is None or self._named() != self._file:
            return
        data = _packed(passport, forests)
        with suppress(OSError, TbsegError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            put_sealed(self._file, data)
            kept = sorted(self._file.parent.glob("*.classifier"), key=lambda f: f.stat().st_mtime)
            for old in kept[:-_MOST_KEPT]:
                old.unlink(missing_ok=True)

    def _named(self) -> Path | None:
        """Where it is kept; None if the file is no ordinary one, or there is no such folder."""
        home = cache_home()
        if home is None or not home.is_absolute():
            return None
        with suppress(OSError, TbsegError):
            data = read_at_most(self._path, _MOST_BYTES)
            if data is not None:
                digest = hashlib.sha256(_reader() + data).hexdigest()
                return home / "tbseg" / f"{digest}.classifier"
        return None


@cache
def _reader() -> bytes:
    """The digest of the sources that read a classifier."""
    return sources_digest(Path(__file__).parent, *map(Path, hdf5.__path__)).digest()


def _packed(passport: str, forests: tuple[Forest, ...]) -> bytes:
    out = io.BytesIO()
    _write(out, np.frombuffer(passport.encode(), np.uint8))
    _write(out, np.array([forest.columns for forest in forests], np.int64))
    for forest in forests:
        for name in _ARRAYS:
            _write(out, getattr(forest, name))
    return out.getvalue()


def _unpacked(data: bytes) -> tuple[str, tuple[Forest, ...]]:
    stored = io.BytesIO(data)
    passport = _read(stored).tobytes().decode()
    return passport, tuple(
        Forest(columns=int(columns), **{name: _read(stored) for name in _ARRAYS})
        for columns in _read(stored)
    )


def _write(out: io.BytesIO, array: NDArray[Any]) -> None:
    write_array(out, array, allow_pickle=False)


def _read(stored: io.BytesIO) -> NDArray[Any]:
    array: NDArray[Any] = read_array(stored, allow_pickle=False)
    return array
