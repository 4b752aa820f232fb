"""Programs that are not ours, run within bounds: time, memory, environment, network, lifetime.

Linux only (prctl, namespaces, /proc), as is everything that runs ilastik unattended.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tbseg_ops.errors import ResourceError
from tbseg_ops.processes.lifetime import end
from tbseg_ops.settings import Isolation

NOT_ISOLATED = 126
NOT_STARTED = 127

_SUPERVISOR = "tbseg_ops.processes.supervisor"
_SLACK_SECONDS = 5.0  # for the supervisor itself to kill, reap and end


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: ``code`` as in subprocess (-N: by signal N), or ``timed_out``."""

    code: int
    timed_out: bool


class Running:
    """A program under way. It is ended when its time is up, by whoever waits for it then."""

    def __init__(self, process: "subprocess.Popen[bytes]", seconds: float, patience: float) -> None:
        self._process = process
        self._patience = patience
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Its time is up so many ``seconds`` from now."""
        self._latest = time.monotonic() + seconds

    def wait(self) -> Outcome:
        """How it ended."""
        try:
            return Outcome(self._process.wait(self._latest - time.monotonic()), timed_out=False)
        except subprocess.TimeoutExpired:
            self.end()
            return Outcome(self._process.returncode, timed_out=True)

    def look(self, seconds: float) -> Outcome | None:
        """As ``wait``, but None if it is still at work after ``seconds``."""
        if time.monotonic() + seconds >= self._latest:
            return self.wait()
        try:
            return Outcome(self._process.wait(seconds), timed_out=False)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Have the supervisor end the program; if it does not, the kernel ends it with that one."""
        if self._process.poll() is None:
            end([psutil.Process(self._process.pid)], self._patience)
            self._process.wait()


@contextmanager
def bounded(
    argv: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    seconds: float,
    memory_bytes: int,
    isolation: Isolation = "try",
    grace: float = 5.0,
) -> Iterator[Running]:
    """Run ``argv`` (a list, no shell) in ``folder`` while the block goes on.

    ``environment`` is all the program sees of ours. Standard output and error go to ``log``,
    standard input is empty. Its time is up after ``seconds`` of wall clock: it gets SIGTERM and,
    ``grace`` seconds later, SIGKILL. ``memory_bytes`` bounds the address space of each of its
    processes. ``isolation``: cut off the network and forbid setuid programs if the kernel lets us
    ("try"), or end with code 126 ("require"), or not at all ("off").

    When the block is left, in whatever way, the program and all its descendants are gone. When this
    process is killed meanwhile, they are killed too, and ``folder`` is removed.
    ResourceError if not even the supervising process can be started.
    """
    spec = {
        "parent": os.getpid(),
        "folder": str(folder),
        "memory": memory_bytes,
        "isolation": isolation,
        "grace": grace,
    }
    command = [sys.executable, "-I", "-m", _SUPERVISOR, json.dumps(spec), *argv]
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ResourceError("a process could not be started", found=error.strerror) from error
    running = Running(process, seconds, grace + _SLACK_SECONDS)
    try:
        yield running
    finally:
        running.end()
