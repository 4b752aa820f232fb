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
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from math import prod
from pathlib import Path
from typing import IO

import h5py
import numpy as np

from tbseg_ops.errors import InputError, ResourceError
from tbseg_ops.hdf5.untrusted import check_attributes, hdf5_errors

MOST_BYTES = 2**20
_MOST_IN_ALL = 64 * 2**20
_SECONDS = 20
_PROGRAM = Path(__file__).with_name("text_reader.py")


class TextReader(AbstractContextManager["TextReader"]):
    """Reads the texts of one file of unknown origin."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._known: dict[tuple[str, str | None], list[bytes]] = {}

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes the pipes and waits
                pass

    def texts(self, owner: h5py.HLObject, attribute: str | None = None) -> Iterator[bytes]:
        """The texts of a dataset, or of an attribute of an object, in C order, one by one.

        ``owner`` was reached by hard links. InputError if it holds no text, one of more than 1 MiB,
        or is damaged.
        """
        where = self._where(owner.name, attribute)
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
            if (owner.name, attribute) not in self._known:
                self.prefetch([(owner, attribute)])
            yield from self._known[owner.name, attribute]
            return
        _check_length(kind.length, where)
        with hdf5_errors(where, "read"):
            values = np.asarray(owner.attrs[attribute] if attribute else owner[()])
        yield from map(bytes, values.flat)

    def prefetch(self, wanted: Sequence[tuple[h5py.HLObject, str | None]]) -> None:
        """Read these texts of variable length, for ``texts``, in one go.

        InputError if one is damaged, or all of them take more than 64 MiB.
        """
        if not wanted:
            return
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        where, room = self._path, _MOST_IN_ALL
        try:
            names = [(owner.name, attribute) for owner, attribute in wanted]
            process.stdin.write(json.dumps(names).encode() + b"\n")
            process.stdin.flush()
            for owner, attribute in wanted:
                where = self._where(owner.name, attribute)
                found = owner.attrs.get_id(attribute) if attribute else owner
                texts = self._known[owner.name, attribute] = []
                for _ in range(prod(found.shape)):
                    length = int.from_bytes(_exactly(process.stdout, 8), "little")
                    _check_length(length, where, min(MOST_BYTES, room))
                    texts.append(_exactly(process.stdout, length))
                    room -= length
        except (BrokenPipeError, EOFError):
            code = process.wait()
            raise InputError(
                "a text is damaged",
                file=where,
                expected=f"a text of at most {MOST_BYTES} bytes",
                found=f"no end of reading it after {_SECONDS} s"
                if code == -signal.SIGALRM
                else f"reading it ended with code {code}",
                mend="write the file again",
            ) from None

    def _where(self, name: str, attribute: str | None) -> str:
        return f"{self._path}:{name}" + (f"@{attribute}" if attribute else "")

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-I", str(_PROGRAM), self._path, str(_SECONDS), str(MOST_BYTES)]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a third of its start-up
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        try:
            return subprocess.Popen(  # noqa: S603 - a list, no shell
                command, stdin=pipe, stdout=pipe, stderr=null, env=environment
            )
        except OSError as error:
            raise ResourceError("a process could not be started", found=error.strerror) from error


def text_attribute(owner: h5py.HLObject, name: str) -> str | None:
    """A text attribute, None if there is none. InputError if it is no text or above 1 MiB."""
    path = owner.file.filename
    with hdf5_errors(f"{path}:{owner.name}", "read"), TextReader(path) as reader:
        check_attributes(owner, f"{path}:{owner.name}")
        if name not in owner.attrs:
            return None
        if (shape := owner.attrs.get_id(name).shape) not in ((), (1,)):
            raise InputError(
                f"the attribute {name} is no text",
                file=f"{path}:{owner.name}",
                expected="one text",
                found=f"shape {shape}",
            )
        return next(reader.texts(owner, name)).decode("utf-8", "replace")


def text_list(owner: h5py.HLObject, name: str, most: int = 32) -> tuple[str, ...]:
    """An attribute that is a list of texts; empty if there is none, or it is something else."""
    path = owner.file.filename
    with hdf5_errors(f"{path}:{owner.name}", "read"), TextReader(path) as reader:
        check_attributes(owner, f"{path}:{owner.name}")
        if name not in owner.attrs:
            return ()
        stored = owner.attrs.get_id(name)
        is_text = h5py.check_string_dtype(stored.dtype) is not None
        if not is_text or len(stored.shape) != 1 or stored.shape[0] > most:
            return ()
        return tuple(text.decode("utf-8", "replace") for text in reader.texts(owner, name))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    content = pipe.read(count)
    if len(content) != count:
        raise EOFError
    return content


def _check_length(length: int, where: str, most: int = MOST_BYTES) -> None:
    if length > most:
        raise InputError(
            "a text is too long", file=where, expected=f"at most {most} bytes", found=length
        )
