"""What a supervisor that was killed has left running: found for certain, and ended."""

import contextlib
import json
import os
from collections.abc import Sequence

import psutil

from scripts.home import Home


def end_leftovers(home: Home) -> None:
    """End what remains of the last deployment. The caller holds the lock: its supervisor is dead.

    Its processes are in the session that the supervisor led, and work in the home. The kernel gives
    a session's number to no new process while the session has members.
    """
    with contextlib.suppress(OSError, ValueError, KeyError):
        leader = json.loads(home.lock.read_text())["pid"]
        end_all([p for p in psutil.process_iter() if _belongs(p, leader, home)], grace=5.0)


def end_all(processes: Sequence[psutil.Process], grace: float) -> None:
    """SIGTERM, and SIGKILL for those that still run after ``grace`` seconds."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=2)


def _belongs(process: psutil.Process, leader: int, home: Home) -> bool:
    with contextlib.suppress(OSError, psutil.Error):
        return (
            process.pid not in (leader, os.getpid())
            and os.getsid(process.pid) == leader
            and process.cwd() == str(home.path)
        )
    return False
