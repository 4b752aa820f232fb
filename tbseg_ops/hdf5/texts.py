"""Text in HDF5 files of unknown origin.

Text of variable length lies in a heap of the file, and HDF5 (2.0) crashes or loops for ever on a
damaged heap: a flipped byte is enough. That must not take the caller with it, so such text is read
by a process of its own (``text_reader``): one for a file, started when its first such text is read.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from tbseg_ops.errors import InputError, ResourceError
from tbseg_ops.hdf5.untrusted import check_attributes, hdf5_errors

MOST_BYTES = 2**20
_SECONDS = 20
_PROGRAM = Path(__file__).with_name("text_reader.py")


class TextReader:
    """Reads the texts of one file of unknown origin. A context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes the pipes and waits
                pass

    def texts(
        self, owner: h5py.Dataset | h5py.HLObject, attribute: str | None = None
    ) -> Iterator[bytes]:
        """The texts of a dataset, or of an attribute of an object, in C order, one by one.

        ``owner`` was reached by hard links. InputError if it holds no text, one of more than 1 MiB,
        or is damaged.
        """
        where = f"{self._path}:{owner.name}" + (f"@{attribute}" if attribute else "")
        found = owner.attrs.get_id(attribute) if attribute else owner
        kind = h5py.check_string_dtype(found.dtype)
        if kind is None or found.shape is None:
            raise InputError(
                "this is no text",
                file=where,
                expected=f"text of at most {MOST_BYTES} bytes",
                found=f"data of type {found.dtype} and shape {found.shape}",
            )
        if kind.length is None:
            yield from self._by_process(owner.name, attribute, prod(found.shape), where)
            return
        _check_length(kind.length, where)
        with hdf5_errors(where, "read"):
            values = np.asarray(owner.attrs[attribute] if attribute else owner[()])
        yield from map(bytes, values.flat)

    def _by_process(
        self, name: str, attribute: str | None, count: int, where: str
    ) -> Iterator[bytes]:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        request = json.dumps([name, attribute]) + "\n"
        try:
            process.stdin.write(request.encode())
            process.stdin.flush()
        except BrokenPipeError:
            raise self._ended(process, where) from None
        for _ in range(count):
            length = int.from_bytes(self._exactly(process, 8, where), "little")
            _check_length(length, where)
            yield self._exactly(process, length, where)

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-I", str(_PROGRAM), self._path, str(_SECONDS), str(MOST_BYTES)]
        try:
            return subprocess.Popen(  # noqa: S603 - a list, no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a third of its start-up
            )
        except OSError as error:
            raise ResourceError("a process could not be started", found=error.strerror) from error

    def _exactly(self, process: "subprocess.Popen[bytes]", count: int, where: str) -> bytes:
        assert process.stdout is not None
        content = process.stdout.read(count)
        if len(content) != count:
            raise self._ended(process, where)
        return content

    def _ended(self, process: "subprocess.Popen[bytes]", where: str) -> InputError:
        code = process.wait()
        return InputError(
            "a text is damaged",
            file=where,
            expected=f"a text of at most {MOST_BYTES} bytes",
            found=f"no end of reading it after {_SECONDS} s"
            if code == -signal.SIGALRM
            else f"reading it ended with code {code}",
            mend="write the file again",
        )


def text_attribute(owner: h5py.HLObject, name: str) -> str | None:
    """A text attribute, None if there is none. InputError if it is no text or above 1 MiB."""
    path = owner.file.filename
    with hdf5_errors(f"{path}:{owner.name}", "read"), TextReader(path) as reader:
        check_attributes(owner, f"{path}:{owner.name}")
        if name not in owner.attrs:
            return None
        if (shape := owner.attrs.get_id(name).shape) != ():
            raise InputError(
                f"the attribute {name} is no text",
                file=f"{path}:{owner.name}",
                expected="one text",
                found=f"shape {shape}",
            )
        return next(reader.texts(owner, name)).decode("utf-8", "replace")


def _check_length(length: int, where: str) -> None:
    if length > MOST_BYTES:
        raise InputError(
            "a text is too long", file=where, expected=f"at most {MOST_BYTES} bytes", found=length
        )
