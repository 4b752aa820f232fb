"""Reading an .ilp (an HDF5 file) that nobody vouches for.

Only plain hard links are followed, only bytes that lie in the file itself are read, sizes are
checked before anything is allocated, and nothing is ever unpickled: a stored pickle is at most
matched as text. Every defect is an InputError that names the path inside the file.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError, system_errors
from tbseg_ops.hdf5.texts import TextReader
from tbseg_ops.hdf5.untrusted import (
    MissingError,
    check_dataset,
    find,
    hdf5_errors,
    members,
    open_untrusted,
)
from tbseg_ops.reference import TIFF_MAGIC, Reference
from tbseg_ops.settings import check_inside

RETRAIN = "open the project in ilastik, train it and save it again"
EXCHANGED = "give a project of ilastik (.ilp); have volume and classifier changed places?"

_MEMBERS = 20_000
_MANY = 256


class Ilp:
    """An open project file; made by ``open_ilp``. Paths are absolute, "/" between the names."""

    def __init__(self, file: str, root: h5py.File, reader: TextReader) -> None:
        self.file = file
        self._root = root["/"]
        self._reader = reader
        # A small file must not make us allocate much: compressed forests shrink by far less.
        self._budget = (16 << 20) + 100 * Path(file).stat().st_size

    def has(self, path: str) -> bool:
        """Whether there is anything at ``path``; InputError if a link on the way leaves it."""
        try:
            self._find(path)
        except MissingError:
            return False
        return True

    def members(self, path: str) -> list[str]:
        """The names in the group ``path``, sorted."""
        group = self._get(path, h5py.Group, "a group")
        with self._reading(path) as where:
            return members(group, _MEMBERS, where)

    def prefetch(self, paths: Sequence[str]) -> None:
        """Read at once the texts of variable length that are found at ``paths``.

        What is wrong with one is said when it is asked for.
        """
        there = [self._find(path) for path in paths if self.has(path)]
        texts: list[tuple[h5py.HLObject, None]] = []
        for found in there:
            kind = h5py.check_string_dtype(found.dtype) if isinstance(found, h5py.Dataset) else None
            if kind is not None and kind.length is None and (found.size or _MANY) < _MANY:
                self._dataset(found.name)
                texts.append((found, None))
        self._reader.prefetch(texts)

    def array(self, path: str, kinds: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """The dataset ``path``, in native byte order.

        ``kinds``: numpy's letters of the types that will do, "b" "i" "u" "f". ``shape``: the
        expected shape, None where any length will do.
        """
        dataset = self._dataset(path)
        dtype, found = dataset.dtype, dataset.shape
        if dtype.kind not in kinds or dtype.itemsize > 8:
            raise self.refusal("a dataset has another type", path, f"one of {kinds!r}", dtype)
        if len(found) != len(shape) or any(
            want is not None and want != have for want, have in zip(shape, found, strict=True)
        ):
            expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise self.refusal("a dataset has another shape", path, f"shape {expected}", found)
        return self._values(path, dataset).astype(dtype.newbyteorder("="), copy=False)

    def text(self, path: str) -> str:
        """The scalar string ``path``: of fixed or variable length, or opaque bytes."""
        dataset = self._dataset(path)
        if dataset.dtype.kind == "V" and dataset.shape == ():
            return self._values(path, dataset).tobytes().decode("utf-8", "replace")
        return self._texts(path, 0, 1)[0]

    def texts(self, path: str, limit: int) -> list[str]:
        """The vector of at most ``limit`` strings at ``path``, fixed or variable length."""
        return self._texts(path, 1, limit)

    def is_empty(self, path: str) -> bool:
        """Whether the dataset ``path`` carries the mark of a placeholder, ``isEmpty``."""
        attributes = self._dataset(path).attrs
        with self._reading(path):
            if "isEmpty" not in attributes:
                return False
            flag = attributes.get_id("isEmpty")
            if flag.shape not in ((), (1,)) or flag.dtype.kind not in "biu":
                raise self.refusal("an attribute has another type", path, "isEmpty: a flag", flag)
            return bool(np.any(attributes["isEmpty"]))

    def walk(self, path: str, depth: int = 0) -> Iterator[tuple[str, bytes]]:
        """Path and stored bytes of every plain dataset below ``path``, in sorted order.

        For the identity of parts that are not understood: variable-length strings are read as
        text, other variable-length data and references are refused.
        """
        if depth > 8:
            raise self.refusal("groups are nested too deeply", path, "8 levels", "more")
        for name in self.members(path):
            child = f"{path}/{name}"
            found = self._find(child)
            if isinstance(found, h5py.Group):
                yield from self.walk(child, depth + 1)
            elif isinstance(found, h5py.Dataset):
                dataset = self._dataset(child)
                if h5py.check_string_dtype(dataset.dtype) is not None:
                    yield child, "\0".join(self._strings(child, dataset)).encode()
                elif dataset.dtype.hasobject:
                    raise self.refusal("a dataset has another type", child, "plain", "references")
                else:
                    yield child, self._values(child, dataset).tobytes()

    def refusal(
        self, what: str, path: str, expected: object, found: object, mend: str = RETRAIN
    ) -> InputError:
        """An InputError about ``path`` inside this file, to be raised by the caller."""
        return InputError(
            f"{what}: {path}",
            file=self.file,
            expected=expected,
            found=found,
            mend=mend,
        )

    def missing(self, path: str) -> InputError:
        """The refusal for a group or dataset that must be there."""
        return self.refusal("the project lacks a part", path, path, "nothing there")

    @contextmanager
    def _reading(self, path: str) -> Iterator[str]:
        where = f"{self.file}:{path}"
        with hdf5_errors(where, "read"):
            yield where

    def _find(self, path: str) -> Any:
        with self._reading(path) as where:
            return find(self._root, path, where)

    def _get(self, path: str, kind: type, name: str) -> Any:
        try:
            found = self._find(path)
        except MissingError:
            raise self.missing(path) from None
        if not isinstance(found, kind):
            raise self.refusal("a part of the project has another kind", path, name, "another")
        return found

    def _dataset(self, path: str) -> h5py.Dataset:
        """The dataset at ``path``, stored in this file and no bigger inside than it says."""
        dataset = self._get(path, h5py.Dataset, "a dataset")
        with self._reading(path) as where:
            check_dataset(dataset, where, inflate=True)
        return dataset

    def _values(self, path: str, dataset: h5py.Dataset) -> NDArray[Any]:
        self._spend(path, prod(dataset.shape) * dataset.dtype.itemsize)
        with self._reading(path):
            return np.asarray(dataset[()])

    def _texts(self, path: str, axes: int, limit: int) -> list[str]:
        dataset = self._dataset(path)
        if len(dataset.shape) != axes or prod(dataset.shape) > limit:
            raise self.refusal(
                "a list has another shape", path, f"at most {limit} names", dataset.shape
            )
        return self._strings(path, dataset)

    def _strings(self, path: str, dataset: h5py.Dataset) -> list[str]:
        texts = []
        for text in self._reader.texts(dataset):
            self._spend(path, len(text))
            texts.append(text.decode("utf-8", "replace"))
        return texts

    def _spend(self, path: str, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise self.refusal("the project declares more than its file can hold", path, "", size)


@contextmanager
def open_ilp(path: str | Path) -> Iterator[Ilp]:
    """Open a project file for reading. InputError if it is not a whole HDF5 file."""
    if found := _volume(str(path)):
        raise InputError(
            "this is a volume, not a classifier",
            file=path,
            expected="an .ilp file",
            found=found,
            mend=EXCHANGED,
        )
    if not Path(path).exists():
        raise InputError(
            "there is no such classifier",
            file=path,
            expected="an .ilp file",
            found="no such file",
            mend="correct the path",
        )
    with open_untrusted(path) as root, TextReader(str(path)) as reader:
        yield Ilp(str(path), root, reader)


def _volume(path: str) -> str | None:
    """What there is, if it is what users give for a volume; HDF5 files are told apart later."""
    with system_errors(path):
        check_inside(path)
    reference = Reference.of(path)
    if reference.kind == "folder" and Path(path).is_dir():
        return "a folder"
    if reference.dataset is not None and Path(reference.file).is_file():
        return "a dataset of an HDF5 file"
    if path.endswith(".ilp") or not Path(path).is_file():
        return None
    with system_errors(path), Path(path).open("rb") as file:
        return "a TIFF file" if file.read(4) in TIFF_MAGIC else None
