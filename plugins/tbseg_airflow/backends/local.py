"""The backend that runs a job as a child process of the Airflow worker."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Literal

import psutil

from tbseg_airflow.backends import fork
from tbseg_airflow.backends.contract import Line, ProgramMissingError
from tbseg_ops.processes.lifetime import die_with_parent, end, session

_PIPE_SECONDS = 2.0  # a process left behind may keep a pipe open: do not wait for it for ever


@dataclass
class LocalJob:
    process: subprocess.Popen[bytes] | fork.Fork
    ended: threading.Event = field(default_factory=threading.Event)
    output: SimpleQueue[Line | int] = field(default_factory=SimpleQueue)  # at last the exit code


class LocalBackend:
    """Each job leads its own process group and session, and ends with the task process."""

    def submit(self, arguments: Sequence[str]) -> LocalJob:
        name, *rest = arguments
        is_forked = name == fork.PROGRAM and fork.is_possible()
        job = LocalJob(fork.Fork(rest) if is_forked else _started(name, rest))
        threading.Thread(target=_watch, args=(job,), daemon=True).start()
        return job

    def check(self, job: LocalJob, seconds: float) -> tuple[list[Line], int | None]:
        lines: list[Line] = []
        with suppress(Empty):
            item = job.output.get(timeout=seconds)
            while isinstance(item, Line):
                lines.append(item)
                item = job.output.get_nowait()
            return lines, item
        return lines, None

    def cancel(self, job: LocalJob, grace: float) -> None:
        leader = job.process.pid
        found = set(session(leader))
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(leader)  # which may not have begun its session yet
            # And those that have left it, such as MPI ranks.
            found |= {process, *process.children(recursive=True)}
        end(found, grace)
        job.ended.wait()


def _started(name: str, rest: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [find_program(name), *rest],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


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


def _watch(job: LocalJob) -> None:
    """Pass on what both pipes say, and in the end the exit code."""
    readers = [
        threading.Thread(target=_read, args=(pipe, stream, job.output), daemon=True)
        for pipe, stream in ((job.process.stdout, "out"), (job.process.stderr, "err"))
    ]
    for reader in readers:
        reader.start()
    code = job.process.wait()
    job.ended.set()
    deadline = time.monotonic() + _PIPE_SECONDS
    for reader in readers:
        reader.join(max(0.0, deadline - time.monotonic()))
    job.output.put(code)


def _read(pipe: IO[bytes], stream: Literal["out", "err"], output: SimpleQueue[Line | int]) -> None:
    with pipe:
        for raw in pipe:
            output.put(Line(stream, raw.decode(errors="replace").rstrip("\r\n")))
