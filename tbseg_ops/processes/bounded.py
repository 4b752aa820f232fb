"""Programs that are not ours, run within bounds: time, memory, environment, network, lifetime.

Linux only (prctl, namespaces, /proc), as is everything that runs ilastik unattended.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


def run_bounded(
    argv: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    seconds: float,
    memory_bytes: int,
    isolation: Isolation = "try",
    grace: float = 5.0,
) -> Outcome:
    """Run ``argv`` (a list, no shell) in ``folder`` and wait for it.

    ``environment`` is all the program sees of ours. Standard output and error go to ``log``,
    standard input is empty. After ``seconds`` of wall clock the program gets SIGTERM and, ``grace``
    seconds later, SIGKILL. ``memory_bytes`` bounds the address space of each of its processes.
    ``isolation``: cut off the network and forbid setuid programs if the kernel lets us ("try"),
    or end with code 126 ("require"), or not at all ("off").

    When this returns or raises (an interrupt, for one), the program and all its descendants are
    gone. When this process is killed meanwhile, they are killed too, and ``folder`` is removed.
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
    timed_out = False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        if process.poll() is None:  # the supervisor ends the program; or the kernel, with it
            end([psutil.Process(process.pid)], grace + _SLACK_SECONDS)
            process.wait()
    return Outcome(process.returncode, timed_out)
