"""What ilastik left behind: its output, which is checked before it counts, and its log."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import ConfigError, InputError, IntegrityError, ResourceError, TbsegError
from tbseg_ops.geometry import Box, Index
from tbseg_ops.hdf5.untrusted import check_dataset, find
from tbseg_ops.processes.bounded import NOT_ISOLATED, NOT_STARTED, Outcome

_TAIL_LINES = 40
_TAIL_BYTES = 1 << 14
_SEARCH_BYTES = 1 << 26
_LAST_WORDS = 6

_ROUNDING = 1e-5  # of float32 sums over trees and forests
_SUM = 1e-3

_EXHAUSTED = re.compile(
    rb"MemoryError|bad_alloc|[Cc]annot allocate memory|No space left on device|Disk quota exceeded"
    rb"|Input/output error|can't start new thread|Too many open files|failed to map segment"
)
_BROKEN = re.compile(
    rb"error while loading shared libraries|ModuleNotFoundError|ImportError: |command not found"
    rb"|unrecognized arguments|: error: |GLIBC"
)
# ilastik trains a new classifier when it cannot use the stored one, some versions on images of
# zeros, and goes on: the result is then of another classifier, and only the log tells.
_RETRAINED = re.compile(
    rb"Training new (?:pixelwise )?classifier|new classifier will be trained"
    rb"|need(?:s)? to be retrain|cannot deserialize|able to deserialize the saved classifier"
)
# Functions of ilastik that are in the traceback of whatever fails from opening the project on.
_PROJECT = re.compile(rb", in (?:loadProject|_prepare_auto_open_project)\b")
# "package.SomeError: text", the last line of a traceback but for further lines of the text.
_LAST = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b.*", re.MULTILINE)
_NOT_UNDERSTOOD = re.compile(rb"Unused command-line args:[^\n]*")


def check_end(outcome: Outcome, log: Path, file: str, seconds: float, memory_mb: int) -> None:
    """Raise unless ilastik ended well by its exit code and by its own words.

    ResourceError: a signal, the time, memory, the disk. ConfigError: it could not be started, or
    fails while it starts, its installation is broken, it does not know an option. InputError: any
    other failure, and a classifier that was trained anew instead of used.
    """
    text = _read(log)
    code = outcome.code if outcome.code >= 0 else 128 - outcome.code  # as a shell reports signals
    if outcome.timed_out:
        raise ResourceError(
            f"ilastik did not finish within {seconds:g} seconds and was ended",
            file=file,
            found=tail(text),
            mend="set TBSEG_ILASTIK_TIMEOUT (seconds) higher, or use smaller tiles",
        )
    if code in (NOT_STARTED, NOT_ISOLATED):
        raise ConfigError(
            "ilastik cannot be started",
            found=tail(text),
            mend="start the program of TBSEG_ILASTIK by hand with --help; if it is the network "
            "that could not be cut off, see TBSEG_ILASTIK_ISOLATION",
        )
    if code > 128:
        raise ResourceError(
            f"ilastik was ended by signal {code - 128}",
            file=file,
            found=tail(text),
            mend="if memory ran out, use smaller tiles or fewer workers on this host",
        )
    check_words(log, file)
    if code != 0:
        raise _failure(code, text, file, memory_mb)


def check_words(log: Path, file: str) -> None:
    """Raise if ilastik says that it does something else than asked for: see ``check_end``."""
    text = _read(log)
    if match := _NOT_UNDERSTOOD.search(text):
        raise ConfigError(
            "this version of ilastik does not understand how it was called",
            found=match.group().decode("utf-8", "replace"),
            mend="install ilastik 1.3.3 or later",
        )
    if match := _RETRAINED.search(text):
        raise InputError(
            "ilastik did not use the stored classifier but wanted to train a new one",
            file=file,
            expected="a classifier that this version of ilastik can read",
            found=match.group().decode("utf-8", "replace"),
            mend="open the project in this version of ilastik, train it and save it",
        )


def _failure(code: int, text: bytes, file: str, memory_mb: int) -> TbsegError:
    what = f"ilastik failed with exit code {code}"
    if _EXHAUSTED.search(text):
        return ResourceError(
            f"{what}: memory or disk ran out",
            file=file,
            found=tail(text),
            mend=f"use smaller tiles, or raise TBSEG_ILASTIK_MEMORY_MB (now {memory_mb})",
        )
    # Only the end: ilastik warns of optional parts that it could not import, and works.
    if _BROKEN.search(b"\n".join(text.splitlines()[-_LAST_WORDS:])):
        return ConfigError(
            f"{what}: its installation is broken or too old",
            found=tail(text),
            mend="install ilastik 1.3.3 or later anew",
        )
    if not _PROJECT.search(text):
        return ConfigError(
            f"{what}: it fails while it starts",
            found=tail(text),
            mend="start the program of TBSEG_ILASTIK by hand with --headless --help, and mend what "
            "it says, or use --engine native",
        )
    return InputError(
        f"{what}: it cannot use this project or volume",
        file=file,
        found=tail(text),
        mend="open the project in this version of ilastik; its last words are above",
    )


def read_probabilities(
    path: Path, dataset: str, shape: Index, core: Box, labels: int, log: Path
) -> NDArray[np.float32]:
    """The core's probabilities (labels, z, y, x), float32, C-contiguous, out of ilastik's file.

    ``shape``: (z, y, x) of the tile that was given. IntegrityError unless the file holds float32
    (z, y, x, labels), finite, within 0..1, summing to 1 or all 0 in every voxel of the core.
    """

    def wrong(what: str, expected: object, found: object) -> IntegrityError:
        return IntegrityError(
            f"ilastik's output is wrong: {what}",
            expected=expected,
            found=f"{found}\n  {tail(_read(log))}",
            mend="the tile is computed again; if that does not help, try ilastik by hand",
        )

    if not path.is_file() or path.is_symlink():
        raise wrong("there is none", f"a file {path.name}", "nothing")
    try:
        with h5py.File(path, "r") as file:
            found: Any = _dataset(file, dataset, wrong)
            if found.shape != (*shape, labels):
                raise wrong("other shape", (*shape, labels), found.shape)
            if found.dtype.newbyteorder("=") != np.float32:
                raise wrong("other type", "float32", found.dtype)
            values = found[(*core.slices, slice(None))].astype(np.float32, copy=False)
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        if isinstance(error, TbsegError):
            raise
        raise wrong("it cannot be read", "a whole HDF5 file", error) from error
    least, most = float(values.min()), float(values.max())
    if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):  # so written, NaN fails too
        raise wrong("not probabilities", "0..1", f"{least}..{most}")
    total = values.sum(axis=-1, dtype=np.float64)
    if not np.all((np.abs(total - 1) <= _SUM) | (total == 0)):
        raise wrong("they do not sum to 1", "1, or all 0", f"{total.min()}..{total.max()}")
    return np.ascontiguousarray(np.moveaxis(np.clip(values, 0, 1), -1, 0))


def _dataset(
    file: h5py.File, name: str, wrong: Callable[[str, object, object], IntegrityError]
) -> h5py.Dataset:
    try:
        found = find(file["/"], name, name)
    except InputError:
        raise wrong("the dataset is missing", name, sorted(file)[:10]) from None
    try:
        if isinstance(found, h5py.Dataset):
            check_dataset(found, name)
            return found
    except InputError as error:
        raise wrong("the dataset is of another kind", error.expected, error.found) from None
    raise wrong("the dataset is of another kind", "a plain dataset", found)


def tail(text: bytes) -> str:
    """What ilastik said last, and the last lines of its log."""
    end = text[-_TAIL_BYTES:].decode("utf-8", "replace")
    lines = end.splitlines()[-_TAIL_LINES:] or ["(empty)"]
    said = _LAST.findall(end)[-1:]
    return "\n    ".join([*said, "the end of ilastik's log:", *lines])


def _read(log: Path) -> bytes:
    """A log; of one beyond 64 MB, the beginning and the end."""
    with log.open("rb") as file:
        text = file.read(_SEARCH_BYTES)
        size = log.stat().st_size
        if size > len(text):
            file.seek(max(len(text), size - _TAIL_BYTES))
            text += file.read(_TAIL_BYTES)
    return text
