"""HDF5 files of unknown origin: nothing outside of the file is ever followed.

An HDF5 file can point out of itself by external links (in the middle of a path, too), external
storage and virtual datasets, and can promise terabytes in a few bytes. Every link of a path is
looked at before it is used (``find``), and a dataset before it is read (``check_dataset``). Text is
read by ``texts``.
"""

import errno
import os
import posixpath
import shlex
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py

from tbseg_ops.errors import InputError, ResourceError, TbsegError
from tbseg_ops.limits import check_expansion
from tbseg_ops.settings import check_inside, check_opened
from tbseg_ops.storage.commit import errno_of
from tbseg_ops.storage.offered import NO_LOCKS

_MAX_STEPS = 64
_MAX_ATTRIBUTES = 1000
_MAX_OBJECTS = 10_000
_MAX_CHUNK_BYTES = 2**30
_MAX_INFLATED_BYTES = 64 * 2**20  # of a chunk that is inflated for a check

# Filters that HDF5 and h5py carry themselves: deflate, shuffle, fletcher32, szip, nbit, scaleoffset
# and lzf; and those of hdf5plugin: bzip2, blosc, lz4, bitshuffle, zfp, zstd, blosc2. Others would
# be loaded as shared libraries from wherever HDF5_PLUGIN_PATH points to.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_MORE_FILTERS = {307, 32001, 32004, 32008, 32013, 32015, 32026}
_DEFLATE, _SHUFFLE = 1, 2
_INFLATED = ((), (_DEFLATE,), (_SHUFFLE,), (_SHUFFLE, _DEFLATE))

_MISSING = {2, 13, 20, 21, 40}  # ENOENT, EACCES, ENOTDIR, EISDIR, ELOOP: wrong at the next try, too
_KINDS = {h5py.h5g.GroupID: h5py.Group, h5py.h5d.DatasetID: h5py.Dataset}


class MissingError(InputError):
    """There is nothing at a path in the file."""


def open_untrusted(path: str | os.PathLike[str]) -> h5py.File:
    """Opens a regular file for reading.

    InputError if it is missing, truncated or not HDF5; ConfigError outside of ``TBSEG_ROOTS``.
    """
    name = os.fspath(path)
    with hdf5_errors(name, "opened"):
        check_inside(name)
        status = Path(name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError("not a regular file", file=name, expected="an HDF5 file")
        if status.st_size == 0:
            raise InputError(
                "the file is empty", file=name, expected="an HDF5 file", found="0 bytes"
            )
        file = _opened_for_reading(name)
        try:
            check_opened(file.id.get_vfd_handle(), name)
        except BaseException:
            file.close()
            raise
        return file


def _opened_for_reading(name: str) -> h5py.File:
    """Under HDF5's lock, so that a writer is noticed, where the file system has locks."""
    try:
        return h5py.File(name, "r", locking="best-effort")
    except OSError as error:
        number = errno_of(error)
        if number == errno.EAGAIN:
            raise InputError(
                "another program has the file open for writing",
                file=name,
                found=f"errno {number} at HDF5's lock",
                mend="close it there (ilastik, Fiji, MATLAB, a notebook), then try again",
            ) from error
        if "h5clear" in str(error):
            raise InputError(
                "a program that wrote the file was killed, or writes to it still",
                file=name,
                found="HDF5's mark of a writer",
                mend="close that program; if there is none any more: h5clear -s FILE, on a copy",
            ) from error
        if number not in NO_LOCKS or "lock" not in str(error):
            raise
        return h5py.File(name, "r", locking=False)


def find(
    root: h5py.Group, path: str, where: str, *, soft: bool = False
) -> h5py.Group | h5py.Dataset | h5py.Datatype:
    """The object at ``path`` below ``root``, by hard links, or by ``soft`` links inside the file.

    ``where`` names it in messages. ``MissingError`` if there is nothing; InputError if a link on
    the way is of another kind, or an object has more than 1,000 attributes.
    """
    if "\0" in path:  # HDF5 would take what is in front of it for the whole path
        raise InputError("this is no path in an HDF5 file", file=where)
    todo = _components(path)
    at = root
    for _ in range(_MAX_STEPS):
        if not todo:
            return at
        name = todo.pop(0)
        key = name.encode("utf-8", "surrogateescape")
        if not isinstance(at, h5py.Group) or not at.id.links.exists(key):
            raise MissingError("there is no such object", file=where, found=f"no {name!r}")
        kind = at.id.links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            at = _opened(at, key)
            check_attributes(at, where)
        elif kind == h5py.h5l.TYPE_SOFT and soft:
            target = at.id.links.get_val(key).decode("utf-8", "surrogateescape")
            todo = _components(target) + todo
            if target.startswith("/"):
                at = root
        else:
            raise _refused_link(at, key, kind, where)
    raise InputError(
        "the path in the HDF5 file is too long, or its links run in a circle",
        file=where,
        expected=f"at most {_MAX_STEPS} steps",
    )


def members(group: h5py.Group, most: int, where: str) -> list[str]:
    """The names in a group, sorted. InputError if there are more than ``most``."""
    count = group.id.get_num_objs()
    if count > most:
        raise InputError(
            "a group holds too many objects", file=where, expected=f"at most {most}", found=count
        )
    return sorted(name.decode("utf-8", "surrogateescape") for name in group.id)


def check_attributes(owner: h5py.HLObject, where: str, most: int = _MAX_ATTRIBUTES) -> None:
    """InputError if an object has more than ``most`` attributes."""
    count = h5py.h5a.get_num_attrs(owner.id)
    if count > most:
        raise InputError(
            "an object of the file has too many attributes",
            file=where,
            expected=f"at most {most} attributes",
            found=count,
        )


def check_dataset(dataset: h5py.Dataset, where: str, *, inflate: bool = False) -> None:
    """InputError unless the values lie in this file, and can be read without code from elsewhere.

    ``inflate``: of a dataset that is read in one piece, each chunk is inflated to see that it holds
    no more than it says, which HDF5 itself would let it; other filters than shuffle and gzip and
    chunks of more than 64 MiB are refused.
    """
    properties = dataset.id.get_create_plist()
    elsewhere = None
    if properties.get_external_count():
        elsewhere = "external storage " + properties.get_external(0)[0].decode("utf-8", "replace")
    elif properties.get_layout() == h5py.h5d.VIRTUAL:
        elsewhere = "a virtual dataset"
    if elsewhere is not None:
        raise InputError(
            "a dataset keeps its bytes in other files",
            file=where,
            expected="bytes in this file",
            found=f"data in another file: {elsewhere}",
            mend="copy it with its bytes: h5repack -l CONTI IN OUT",
        )
    if dataset.shape is None:
        raise InputError(
            "the dataset is empty",
            file=where,
            expected="values",
            found="a null dataspace",
            mend="write the file again",
        )
    if dataset.chunks is None:
        return
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    numbers = tuple(number for number, *_ in filters)
    size = prod(dataset.chunks) * dataset.dtype.itemsize
    most = _MAX_INFLATED_BYTES if inflate else _MAX_CHUNK_BYTES
    if not inflate and not _MORE_FILTERS.isdisjoint(numbers):
        import hdf5plugin  # noqa: F401 - its filters are there from now on
    known = numbers in _INFLATED if inflate else (_FILTERS | _MORE_FILTERS).issuperset(numbers)
    if size > most or not known:
        names = ", ".join(f"{n} ({name.decode('utf-8', 'replace')})" for n, _, _, name in filters)
        allowed = "shuffle and gzip at most" if inflate else "gzip, lzf, zstd, blosc, lz4, ..."
        raise InputError(
            "the dataset has huge chunks, or needs a filter that is not allowed here",
            file=where,
            expected=f"chunks of at most {most} bytes, filters: {allowed}",
            found=f"chunks of {dataset.chunks}: {size} bytes, filters: {names or 'none'}",
            mend="repack the file with smaller chunks: h5repack -f GZIP=1 -l CHUNK="
            f"{'x'.join(['64'] * dataset.ndim)} IN OUT",
        )
    if inflate and _DEFLATE in numbers:
        _check_inflated(dataset, size, 1 << numbers.index(_DEFLATE), where)


def untrusted_dataset(file: h5py.File, path: str, *, constant: bool = False) -> h5py.Dataset:
    """The dataset at ``path``, following hard links and soft links inside the file only.

    InputError if it is missing (the message lists the datasets that there are), lies outside of the
    file, needs a filter that is not built in, or declares more than its stored bytes can hold;
    not so of one that may well be ``constant``, whose size the caller bounds.
    """
    where = f"{file.filename}:{path}"
    with hdf5_errors(where, "read"):
        try:
            found = find(file["/"], path, where, soft=True)
        except MissingError as error:
            raise _missing(file, where, error.found) from None
        if not isinstance(found, h5py.Dataset):
            raise _missing(file, where, f"a {type(found).__name__.lower()}")
        check_dataset(found, where)
        declared = found.size * found.dtype.itemsize
        if not constant:
            check_expansion(declared, found.id.get_storage_size(), where)
        return found


def dataset_paths(file: h5py.File) -> list[str]:
    """Paths of all datasets that are reached by hard links, sorted; each dataset once.

    InputError if there are more than 10,000 objects.
    """
    with hdf5_errors(file.filename, "listed"):
        return sorted(_walk(file["/"], file.filename))


@contextmanager
def hdf5_errors(where: str, doing: str) -> Iterator[None]:
    """What h5py raises inside becomes InputError; ResourceError if the disk or memory failed."""
    try:
        yield
    except TbsegError:
        raise
    except MemoryError as error:
        raise ResourceError("not enough memory", file=where) from error
    except Exception as error:
        number = errno_of(error) if isinstance(error, OSError) else None
        if number and number not in _MISSING:
            raise ResourceError(
                f"the HDF5 file cannot be {doing}", file=where, found=error
            ) from error
        raise InputError(
            f"the HDF5 file is damaged, or no HDF5 file, and cannot be {doing}"
            if number is None
            else f"the HDF5 file cannot be {doing}",
            file=where,
            found=f"{type(error).__name__}: {error}"[:300],
        ) from error


def _missing(file: h5py.File, where: str, found: object) -> InputError:
    paths = dataset_paths(file)
    there = ", ".join(paths[:20]) + (", ..." if len(paths) > 20 else "")
    return InputError(
        "there is no such dataset",
        file=where,
        expected=f"one of: {there or '(the file has none)'}",
        found=found,
        mend=f"give one that is there, such as {shlex.quote(f'{file.filename}:{paths[0]}')}"
        if paths
        else "give another file",
    )


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _opened(group: h5py.Group, key: bytes) -> h5py.Group | h5py.Dataset | h5py.Datatype:
    found = h5py.h5o.open(group.id, key)
    return _KINDS.get(type(found), h5py.Datatype)(found)


def _refused_link(group: h5py.Group, key: bytes, kind: int, where: str) -> InputError:
    path = shlex.quote(posixpath.join(str(group.name), key.decode("utf-8", "replace")))
    found = f"a user-defined link {key!r}"
    if kind == h5py.h5l.TYPE_SOFT:
        found = f"a soft link {key!r}"
    elif kind == h5py.h5l.TYPE_EXTERNAL:
        file, path = group.id.links.get_val(key)
        found = f"an external link {key!r} -> {file!r}:{path!r}"
    return InputError(
        "the file links to another file, or may do so",
        file=where,
        expected="data inside the file",
        found=f"a link elsewhere: {found}",
        mend=f"copy the data into a file of its own: h5copy -i IN -o OUT -s {path} -d /data",
    )


def _check_inflated(dataset: h5py.Dataset, size: int, skipped: int, where: str) -> None:
    """No chunk may inflate to more than ``size``; bit ``skipped`` marks one that is not packed."""
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.filter_mask & skipped:
            continue
        inflated = chunk.size
        if chunk.size <= size + size // 8 + 4096:
            _, stored = dataset.id.read_direct_chunk(chunk.chunk_offset)
            inflated = len(zlib.decompressobj().decompress(stored, size + 1))
        if inflated > size:
            raise InputError(
                "a chunk inflates too far", file=where, expected=f"{size} bytes", found="more"
            )


def _walk(root: h5py.Group, where: str) -> Iterator[str]:
    """Breadth first over hard links; objects are told apart by address, so loops end."""
    seen: set[int] = set()
    todo: list[h5py.Group] = [root]
    while todo:
        group = todo.pop(0)
        if len(seen) + len(group) > _MAX_OBJECTS:
            raise InputError(
                "the HDF5 file has too many objects to be listed",
                file=where,
                expected=f"at most {_MAX_OBJECTS}",
                found=f"more than {_MAX_OBJECTS}",
                mend="give the path of the dataset",
            )
        for key in group.id:
            if group.id.links.get_info(key).type != h5py.h5l.TYPE_HARD:
                continue
            found = _opened(group, key)
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(found, h5py.Group):
                todo.append(found)
            elif isinstance(found, h5py.Dataset):
                yield str(found.name)
