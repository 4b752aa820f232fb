"""Reading an .ilp (an HDF5 file) that nobody vouches for.

Only plain hard links are followed, only bytes that lie in the file itself are read, sizes are
checked before anything is allocated, and nothing is ever unpickled: a stored pickle is at most
matched as text. Every defect is an InputError that names the path inside the file.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import prod
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.hdf5.untrusted import hdf5_errors, open_untrusted

_P = ParamSpec("_P")
_T = TypeVar("_T")

_MEMBERS = 20_000
_TEXT_BYTES = 1 << 20
_CHUNK_BYTES = 64 << 20
_DEFLATE = h5py.h5z.FILTER_DEFLATE
_PIPELINES = ((), (_DEFLATE,), (h5py.h5z.FILTER_SHUFFLE,), (h5py.h5z.FILTER_SHUFFLE, _DEFLATE))


def _guarded(
    method: "Callable[Concatenate[Ilp, _P], _T]",
) -> "Callable[Concatenate[Ilp, _P], _T]":
    """What h5py raises for a damaged or hostile file, as an InputError."""

    @wraps(method)
    def call(self: "Ilp", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        where = f"{self.file}:{args[0]}" if args else self.file
        with hdf5_errors(where, "read"):
            return method(self, *args, **kwargs)

    return call


class Ilp:
    """An open project file; made by ``open_ilp``. Paths are absolute, "/" between the names."""

    def __init__(self, file: str, root: h5py.File) -> None:
        self.file = file
        self._root = root.id
        # A small file must not make us allocate much: compressed forests shrink by far less.
        self._budget = (16 << 20) + 100 * Path(file).stat().st_size

    @_guarded
    def has(self, path: str) -> bool:
        """Whether there is anything at ``path``; InputError if a link on the way leaves it."""
        return self._find(path) is not None

    @_guarded
    def members(self, path: str) -> list[str]:
        """The names in the group ``path``, sorted."""
        group = self._get(path, h5py.h5g.GroupID, "a group")
        count = group.get_num_objs()
        if count > _MEMBERS:
            raise self.refusal("a group holds too many objects", path, f"<= {_MEMBERS}", count)
        return sorted(_decode(name) for name in group)

    @_guarded
    def shape(self, path: str) -> tuple[int, ...]:
        """The shape of the dataset ``path``; nothing is read."""
        return tuple(self._dataset(path).shape)

    @_guarded
    def array(self, path: str, kinds: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """The dataset ``path``, in native byte order.

        ``kinds``: numpy's letters of the types that will do, "b" "i" "u" "f". ``shape``: the
        expected shape, None where any length will do.
        """
        dataset = self._dataset(path)
        dtype = dataset.dtype
        found = tuple(dataset.shape)
        if dtype.kind not in kinds or dtype.itemsize > 8:
            raise self.refusal("a dataset has another type", path, f"one of {kinds!r}", dtype)
        if len(found) != len(shape) or any(
            want is not None and want != have for want, have in zip(shape, found, strict=True)
        ):
            expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
            raise self.refusal("a dataset has another shape", path, f"shape {expected}", found)
        self._spend(path, prod(found) * dtype.itemsize)
        values = h5py.Dataset(dataset)[()]
        return np.asarray(values).astype(dtype.newbyteorder("="), copy=False)

    @_guarded
    def text(self, path: str) -> str:
        """The scalar string ``path``, fixed or variable length."""
        return self._strings(path, ())[0]

    @_guarded
    def texts(self, path: str, limit: int) -> list[str]:
        """The vector of at most ``limit`` strings at ``path``, fixed or variable length."""
        shape = tuple(self._dataset(path).shape)
        if len(shape) != 1 or shape[0] > limit:
            raise self.refusal("a list has another shape", path, f"at most {limit} names", shape)
        return self._strings(path, shape)

    @_guarded
    def is_empty(self, path: str) -> bool:
        """Whether the dataset ``path`` carries the mark of a placeholder, ``isEmpty``."""
        dataset = self._dataset(path)
        if not h5py.h5a.exists(dataset, b"isEmpty"):
            return False
        attribute = h5py.h5a.open(dataset, b"isEmpty")
        if attribute.shape not in ((), (1,)) or attribute.dtype.kind not in "biu":
            raise self.refusal("an attribute has another type", path, "isEmpty: a flag", "another")
        flag = np.zeros(attribute.shape, attribute.dtype)
        attribute.read(flag)
        return bool(flag.any())

    @_guarded
    def walk(self, path: str) -> Iterator[tuple[str, bytes]]:
        """Path and stored bytes of every plain dataset below ``path``, in sorted order.

        For the identity of parts that are not understood: variable-length strings are read as
        text, other variable-length data and references are refused.
        """
        return iter(list(self._walk(path, 0)))

    def refusal(self, what: str, path: str, expected: object, found: object) -> InputError:
        """An InputError about ``path`` inside this file, to be raised by the caller."""
        return InputError(
            f"{what}: {path}",
            file=self.file,
            expected=expected,
            found=found,
            mend="open the project in ilastik, train it and save it again",
        )

    def missing(self, path: str) -> InputError:
        """The refusal for a group or dataset that must be there."""
        return self.refusal("the project lacks a part", path, path, "nothing there")

    def _walk(self, path: str, depth: int) -> Iterator[tuple[str, bytes]]:
        if depth > 8:
            raise self.refusal("groups are nested too deeply", path, "8 levels", "more")
        for name in self.members(path):
            child = f"{path}/{name}"
            found = self._find(child)
            if isinstance(found, h5py.h5g.GroupID):
                yield from self._walk(child, depth + 1)
            elif isinstance(found, h5py.h5d.DatasetID):
                dataset = self._dataset(child)
                if h5py.check_string_dtype(dataset.dtype) is not None:
                    yield child, "\0".join(self._strings(child, tuple(dataset.shape))).encode()
                elif dataset.dtype.hasobject:
                    raise self.refusal("a dataset has another type", child, "plain", "references")
                else:
                    self._spend(child, prod(dataset.shape) * dataset.dtype.itemsize)
                    yield child, np.asarray(h5py.Dataset(dataset)[()]).tobytes()

    def _find(self, path: str) -> Any:
        """The object at ``path`` or None; every link on the way is looked at before it is used."""
        here = h5py.h5o.open(self._root, b"/")
        for name in path.strip("/").split("/"):
            if not isinstance(here, h5py.h5g.GroupID) or not here.links.exists(name.encode()):
                return None
            kind = here.links.get_info(name.encode()).type
            if kind != h5py.h5l.TYPE_HARD:
                raise self.refusal(
                    "the project holds a link that may lead out of the file",
                    path,
                    "hard links only",
                    {
                        h5py.h5l.TYPE_SOFT: "a soft link",
                        h5py.h5l.TYPE_EXTERNAL: "an external link",
                    }.get(kind, "a user-defined link"),
                )
            here = h5py.h5o.open(here, name.encode())
        return here

    def _get(self, path: str, kind: type, name: str) -> Any:
        found = self._find(path)
        if found is None:
            raise self.missing(path)
        if not isinstance(found, kind):
            raise self.refusal("a part of the project has another kind", path, name, "another")
        return found

    def _dataset(self, path: str) -> h5py.h5d.DatasetID:
        """The dataset at ``path``, stored in this file and no bigger inside than it says."""
        dataset = self._get(path, h5py.h5d.DatasetID, "a dataset")
        if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            raise self.refusal("a dataset is empty", path, "a value", "a null dataspace")
        plist = dataset.get_create_plist()
        layout = plist.get_layout()
        if layout == h5py.h5d.VIRTUAL or plist.get_external_count() > 0:
            raise self.refusal(
                "a dataset keeps its bytes in other files", path, "bytes in this file", "elsewhere"
            )
        if layout == h5py.h5d.CHUNKED:
            self._check_chunks(path, dataset, plist)
        return dataset

    def _check_chunks(self, path: str, dataset: Any, plist: Any) -> None:
        """No chunk may inflate to more than a chunk: HDF5 itself would let it."""
        size = prod(plist.get_chunk()) * dataset.get_type().get_size()
        filters = tuple(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))
        if size > _CHUNK_BYTES or filters not in _PIPELINES:
            raise self.refusal(
                "a dataset is stored in an unusual way",
                path,
                f"chunks of at most {_CHUNK_BYTES} bytes, shuffle and gzip at most",
                f"chunks of {size} bytes, filters {filters}",
            )
        if _DEFLATE not in filters:
            return
        skipped = 1 << filters.index(_DEFLATE)
        chunks: list[Any] = []
        dataset.chunk_iter(chunks.append)
        for chunk in chunks:
            if chunk.filter_mask & skipped:
                continue
            if chunk.size > size + size // 8 + 4096:
                raise self.refusal("a chunk is too big", path, f"<= {size} bytes", chunk.size)
            _, stored = dataset.read_direct_chunk(chunk.chunk_offset)
            if len(zlib.decompressobj().decompress(stored, size + 1)) > size:
                raise self.refusal("a chunk inflates too far", path, f"{size} bytes", "more")

    def _spend(self, path: str, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise self.refusal("the project declares more than its file can hold", path, "", size)

    def _strings(self, path: str, shape: tuple[int, ...]) -> list[str]:
        dataset = self._dataset(path)
        if h5py.check_string_dtype(dataset.dtype) is None or tuple(dataset.shape) != shape:
            raise self.refusal("a dataset has another type", path, "text", dataset.dtype)
        view = h5py.Dataset(dataset)
        texts = []
        # One by one: elements of variable length may all point at the same huge string.
        for index in np.ndindex(shape):
            raw = view[index]
            if len(raw) > _TEXT_BYTES:
                raise self.refusal("a text is too long", path, f"<= {_TEXT_BYTES}", len(raw))
            texts.append(_decode(bytes(raw)))
        return texts


@contextmanager
def open_ilp(path: str | Path) -> Iterator[Ilp]:
    """Open a project file for reading. InputError if it is not a whole HDF5 file."""
    if not Path(path).exists():
        raise InputError(
            "there is no such classifier",
            file=path,
            expected="an .ilp file",
            found="no such file",
            mend="correct the path",
        )
    with open_untrusted(path) as root:
        yield Ilp(str(path), root)


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
