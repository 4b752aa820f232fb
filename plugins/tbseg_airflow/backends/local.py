"""The backend that runs a job as a child process of the Airflow worker."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Literal

import psutil

from tbseg_airflow.backends.contract import Line, ProgramMissingError

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux
_PIPE_SECONDS = 2.0  # a process left behind may keep a pipe open: do not wait for it for ever


@dataclass
class LocalJob:
    process: subprocess.Popen[bytes]
    output: SimpleQueue[Line | None] = field(default_factory=SimpleQueue)  # None: a pipe's end
    readers: list[threading.Thread] = field(default_factory=list)
    open_pipes: int = 2


class LocalBackend:
    """Each job leads its own process group and session, and ends with the task process."""

    def submit(self, arguments: Sequence[str]) -> LocalJob:
        name, *rest = arguments
        process = subprocess.Popen(  # noqa: S603
            [find_program(name), *rest],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        job = LocalJob(process)
        pipes: tuple[tuple[IO[bytes] | None, Literal["out", "err"]], ...] = (
            (process.stdout, "out"),
            (process.stderr, "err"),
        )
        for pipe, stream in pipes:
            reader = threading.Thread(target=_read, args=(pipe, stream, job.output), daemon=True)
            reader.start()
            job.readers.append(reader)
        return job

    def check(self, job: LocalJob, seconds: float) -> tuple[list[Line], int | None]:
        lines: list[Line] = []
        with contextlib.suppress(Empty):
            self._take(job, lines, job.output.get(timeout=seconds))
        code = job.process.poll()
        if job.open_pipes == 0 and code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = job.process.wait(seconds)
        if code is not None:
            end = time.monotonic() + _PIPE_SECONDS
            for reader in job.readers:
                reader.join(max(0.0, end - time.monotonic()))
        with contextlib.suppress(Empty):
            while True:
                self._take(job, lines, job.output.get_nowait())
        return lines, code

    @staticmethod
    def _take(job: LocalJob, lines: list[Line], item: Line | None) -> None:
        if item is None:
            job.open_pipes -= 1
        else:
            lines.append(item)

    def cancel(self, job: LocalJob, grace: float) -> None:
        group = job.process.pid
        try:
            tree = psutil.Process(group).children(recursive=True)
        except psutil.NoSuchProcess:
            tree = []
        _signal_group(group, signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end:
            ended = job.process.poll() is not None
            if ended and not _group_exists(group) and not any(p.is_running() for p in tree):
                return
            time.sleep(0.02)
        _signal_group(group, signal.SIGKILL)
        for process in tree:  # those that have left the group, such as MPI ranks
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        job.process.wait()


def find_program(name: str) -> str:
    """Where a program is: beside this interpreter, or else on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise ProgramMissingError(
            f"the program {name} is not installed on {os.uname().nodename}\n"
            f"  expected: {beside}, or on PATH\n"
            "  mend: install the project into the environment of this worker: make setup"
        )
    return found


def _read(pipe: IO[bytes], stream: Literal["out", "err"], output: SimpleQueue[Line | None]) -> None:
    with pipe:
        for raw in pipe:
            output.put(Line(stream, raw.decode(errors="replace").rstrip("\r\n")))
    output.put(None)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def _end_with_parent() -> None:
    """In the child: have the kernel send SIGTERM when the task process is gone, even if killed."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
