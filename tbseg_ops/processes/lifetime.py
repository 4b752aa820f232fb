"""How long a process lives: not longer than its parent, and not longer than it may."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it

_DEATH_SECONDS = 2.0  # from SIGKILL to the end
_LOOK_SECONDS = 0.02


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send ``number`` to this process once the thread that started it has ended."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def adopt_orphans() -> None:
    """What a child of this process leaves behind becomes a child of this process."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def collect_orphans(own: Collection[int]) -> None:
    """Take note of the ends of adopted processes, which would stay as zombies; not of ``own`` ones,
    whose ends somebody else asks for."""
    with suppress(ChildProcessError):  # there is no child at all
        while (
            found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        ) and found.si_pid not in own:
            os.waitpid(found.si_pid, os.WNOHANG)


def session(leader: int) -> list[psutil.Process]:
    """The processes of the session that ``leader`` has begun, whether that lives or not.

    The kernel gives the number of a session to no new process while the session has members.
    """
    return [process for process in psutil.process_iter() if _session(process) == leader]


def end(processes: Iterable[psutil.Process], grace: float) -> None:
    """SIGTERM to each, and SIGKILL to those that are there ``grace`` seconds later."""
    alive = list(processes)
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, _DEATH_SECONDS)):
        for process in alive:
            with suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + seconds
        while (alive := list(filter(is_alive, alive))) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)


def end_all(program: subprocess.Popen[bytes], grace: float) -> int:
    """End ``program`` and whatever else is below this process, which has adopted orphans.

    What has outlived ``program`` gets no grace. The exit code of ``program``, as in subprocess.
    """
    seconds = grace if program.poll() is None else 0.0
    while below := psutil.Process().children(recursive=True):
        end(below, seconds)
        program.wait()
        with suppress(ChildProcessError):  # collect the others, too: they are ours
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        seconds = 0.0
    return program.returncode


def is_alive(process: psutil.Process) -> bool:
    """Whether it does anything: one whose parent has not noticed its end does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _session(process: psutil.Process) -> int | None:
    with suppress(OSError):
        return os.getsid(process.pid)
    return None
