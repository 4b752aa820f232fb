"""Opening HDF5 files of unknown origin: nothing outside of the file is ever followed.

An HDF5 file can point out of itself by external links (in the middle of a path, too), external
storage and virtual datasets, and can promise terabytes in a few bytes. Every component of a path is
looked at before it is opened, and a dataset before it is read.
"""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py

from tbseg_ops.errors import InputError, ResourceError, TbsegError
from tbseg_ops.limits import check_expansion
from tbseg_ops.settings import check_inside

_MAX_STEPS = 64
_MAX_ATTRIBUTES = 1000
_MAX_OBJECTS = 10_000
_MAX_CHUNK_BYTES = 2**30
_MAX_TEXT_BYTES = 2**20
_CHILD_SECONDS = 20

# Filters that HDF5 and h5py carry themselves: deflate, shuffle, fletcher32, szip, nbit, scaleoffset
# and lzf. Others would be loaded as shared libraries from wherever HDF5_PLUGIN_PATH points to.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}

_MISSING = {2, 13, 20, 21, 40}  # ENOENT, EACCES, ENOTDIR, EISDIR, ELOOP: wrong at the next try, too


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
        # best-effort: many network file systems of labs know no locks.
        return h5py.File(name, "r", locking="best-effort")


def untrusted_dataset(file: h5py.File, path: str) -> h5py.Dataset:
    """The dataset at ``path``, following hard links and soft links inside the file only.

    InputError if it is missing (the message lists the datasets that there are), lies outside of the
    file, needs a filter that is not built in, or declares more than its stored bytes can hold.
    """
    where = f"{file.filename}:{path}"
    with hdf5_errors(where, "read"):
        found = _resolve(file, path, where)
        if not isinstance(found, h5py.Dataset):
            raise _missing(file, where, f"a {type(found).__name__.lower()}")
        _check_dataset(found, where)
        return found


def dataset_paths(file: h5py.File) -> list[str]:
    """Paths of all datasets that are reached by hard links, sorted; each dataset once.

    InputError if there are more than 10,000 objects.
    """
    with hdf5_errors(file.filename, "listed"):
        return sorted(_walk(file))


def text_attribute(owner: h5py.HLObject, name: str) -> str | None:
    """A text attribute, None if there is none. InputError if it is no text or above 1 MiB."""
    where = f"{owner.file.filename}:{owner.name}"
    with hdf5_errors(where, "read"):
        _check_attributes(owner, where)
        if name not in owner.attrs:
            return None
        attribute = owner.attrs.get_id(name)
        kind = h5py.check_string_dtype(attribute.dtype)
        if kind is None or attribute.shape != () or (kind.length or 0) > _MAX_TEXT_BYTES:
            raise InputError(
                f"the attribute {name} is no text",
                file=where,
                expected=f"a text of at most {_MAX_TEXT_BYTES} bytes",
                found=f"{attribute.dtype} of shape {attribute.shape}",
            )
        value = _text_by_child(owner, name, where) if kind.length is None else owner.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _text_by_child(owner: h5py.HLObject, name: str, where: str) -> bytes:
    """Text of variable length, read by a process of its own: see ``text_reader``."""
    program = Path(__file__).with_name("text_reader.py")
    command = [sys.executable, "-I", str(program), owner.file.filename, owner.name, name]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_CHILD_SECONDS, check=False)  # noqa: S603 - a list, no shell
        ended = f"reading it ended with code {done.returncode}"
    except subprocess.TimeoutExpired:
        done, ended = None, f"no end of reading it after {_CHILD_SECONDS} s"
    except OSError as error:
        raise ResourceError("a process could not be started", found=error.strerror) from error
    if done is None or done.returncode != 0 or len(done.stdout) > _MAX_TEXT_BYTES:
        raise InputError(
            f"the attribute {name} is damaged",
            file=where,
            expected=f"a text of at most {_MAX_TEXT_BYTES} bytes",
            found=ended,
            mend="write the file again",
        )
    return done.stdout


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
        number = getattr(error, "errno", None)
        if number is None:
            match = re.search(r"errno = (\d+)", str(error))
            number = int(match[1]) if match else None
        if isinstance(error, OSError) and number and number not in _MISSING:
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


def _resolve(file: h5py.File, path: str, where: str) -> h5py.HLObject:
    """Walks ``path`` link by link; soft links are put in front of what is left to walk."""
    if "\0" in path:  # HDF5 would take what is in front of it for the whole path
        raise InputError("this is no path in an HDF5 file", file=where)
    todo = _components(path)
    at: list[h5py.Group] = [file["/"]]
    found: h5py.HLObject = at[0]
    for _ in range(_MAX_STEPS):
        if not todo:
            return found
        name = todo.pop(0)
        link = found.get(name, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise _missing(file, where, f"no {name!r}")
        if isinstance(link, h5py.ExternalLink):
            raise InputError(
                "the file links to another file",
                file=where,
                expected="data inside the file",
                found=f"{name} -> {link.filename}:{link.path}",
                mend="copy the data into the file, for example with h5copy",
            )
        if isinstance(link, h5py.SoftLink):
            todo = _components(link.path) + todo
            if link.path.startswith("/"):
                found = at[0]
            continue
        if not isinstance(link, h5py.HardLink):
            raise InputError(
                "the file holds a link of an unknown kind",
                file=where,
                expected="data inside the file",
                found=name,
            )
        found = found[name]
        _check_attributes(found, where)
    raise InputError(
        "the path in the HDF5 file is too long, or its links run in a circle",
        file=where,
        expected=f"at most {_MAX_STEPS} steps",
    )


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _check_attributes(found: h5py.HLObject, where: str) -> None:
    count = h5py.h5a.get_num_attrs(found.id)
    if count > _MAX_ATTRIBUTES:
        raise InputError(
            "an object of the file has too many attributes",
            file=where,
            expected=f"at most {_MAX_ATTRIBUTES}",
            found=count,
        )


def _check_dataset(dataset: h5py.Dataset, where: str) -> None:
    properties = dataset.id.get_create_plist()
    if properties.get_external_count():
        raise InputError(
            "the pixels are in another file (external storage)",
            file=where,
            expected="data inside the file",
            found=properties.get_external(0)[0].decode("utf-8", "replace"),
            mend="repack the file with h5repack",
        )
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        raise InputError(
            "the dataset is a virtual one: its pixels are elsewhere",
            file=where,
            expected="data inside the file",
            found="a virtual dataset",
            mend="copy it into a file of its own, for example with h5repack",
        )
    if dataset.shape is None:
        raise InputError(
            "the dataset is empty", file=where, expected="values", found="a null dataspace"
        )
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    for number, _, _, name in filters:
        if number not in _FILTERS:
            raise InputError(
                "the dataset needs a filter that is not part of HDF5",
                file=where,
                expected="gzip, szip or lzf",
                found=f"filter {number} ({name.decode('utf-8', 'replace')})",
                mend="repack the file with h5repack -f GZIP=1",
            )
    if (
        dataset.chunks is not None
        and prod(dataset.chunks) * dataset.dtype.itemsize > _MAX_CHUNK_BYTES
    ):
        raise InputError(
            "the dataset has huge chunks",
            file=where,
            expected=f"at most {_MAX_CHUNK_BYTES} bytes",
            found=f"chunks of {dataset.chunks}",
            mend="repack the file with smaller chunks",
        )
    check_expansion(dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size(), where)


def _missing(file: h5py.File, where: str, found: str) -> InputError:
    paths = dataset_paths(file)
    there = ", ".join(paths[:20]) + (", ..." if len(paths) > 20 else "")
    return InputError(
        "there is no such dataset",
        file=where,
        expected=f"one of: {there or '(the file has none)'}",
        found=found,
        mend="give the path as file.h5:/path",
    )


def _walk(file: h5py.File) -> Iterator[str]:
    """Breadth first over hard links; objects are told apart by address, so loops end."""
    seen: set[int] = set()
    todo: list[h5py.Group] = [file["/"]]
    while todo:
        group = todo.pop(0)
        if len(seen) + len(group) > _MAX_OBJECTS:
            raise InputError(
                "the HDF5 file has too many objects to be listed",
                file=file.filename,
                expected=f"at most {_MAX_OBJECTS}",
                found=f"more than {_MAX_OBJECTS}",
                mend="give the path of the dataset",
            )
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(found, h5py.Group):
                todo.append(found)
            elif isinstance(found, h5py.Dataset):
                yield str(found.name)
