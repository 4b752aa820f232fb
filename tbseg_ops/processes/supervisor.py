"""Runs one program and leaves nothing of it behind; started by ``bounded``, never imported.

    python -I -m tbseg_ops.processes.supervisor SPEC PROGRAM [ARGUMENT ...]  (SPEC: see bounded.py)

It is a process of its own because what it does must happen in a child before the program starts,
and Python code between fork and exec is not safe in a process with threads; and because it has to
outlive the parent: if that is killed in any way, the kernel sends SIGTERM here, the program and
everything it started are killed, and the working folder is removed.

Ends as the program ended: with its exit code, or by the same signal. 127: the program cannot be
started. 126: isolation was required and the kernel did not grant it.
"""

import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from tbseg_ops.processes.lifetime import adopt_orphans, die_with_parent, end, end_all

_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    spec = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    _isolate(spec["isolation"])
    adopt_orphans()
    die_with_parent()
    code, asked = 0, False
    if os.getppid() == spec["parent"]:  # else the parent died before it could be watched
        code, asked = _run(sys.argv[2:], spec)
    # The kernel's signal comes when the thread that started us ends. Other threads of a parent that
    # is killed may live on for a moment, and until then it is our parent still.
    latest = time.monotonic() + 0.5
    while asked and os.getppid() == spec["parent"] and time.monotonic() < latest:
        time.sleep(0.01)
    if os.getppid() != spec["parent"]:
        os.chdir("/")
        for _ in range(50):  # what was killed a moment ago may still be writing
            shutil.rmtree(spec["folder"], ignore_errors=True)
            if not os.path.lexists(spec["folder"]):
                break
            time.sleep(0.1)
    if code < 0:
        _end_by(-code)
    os._exit(code)


def _run(argv: list[str], spec: dict[str, Any]) -> tuple[int, bool]:
    """Start the program, wait for its end or for a signal to end it.

    Its exit code as in subprocess, and whether there was such a signal.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            end(psutil.Process().children(recursive=True), spec["grace"])

    for number in _ENDINGS:
        signal.signal(number, ask)
    try:
        program = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            argv,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=partial(_begin, spec["memory"]),
        )
    except OSError as error:
        _say(f"{argv[0]}: cannot be started: {error.strerror}")
        return 127, False
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
    program.wait()
    return end_all(program, 0.0), asked


def _begin(memory: int) -> None:
    """In the child, before the program starts: it ends with us, dumps no core, has its limits."""
    die_with_parent(signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if ceiling == resource.RLIM_INFINITY else min(memory, ceiling)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _isolate(wish: str) -> None:
    """No network and no new privileges for this process and all it starts, as far as allowed.

    A network namespace of its own takes privileges, or a user namespace of its own, in which the
    user and the group keep their numbers.
    """
    if wish == "off":
        return
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    uid, gid = os.geteuid(), os.getegid()
    if _LIBC.unshare(_CLONE_NEWNET) == 0:
        return
    if _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        with suppress(OSError):
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        return
    _say(f"the network could not be cut off: {errno.errorcode.get(ctypes.get_errno())}")
    if wish == "require":
        os._exit(126)


def _end_by(number: int) -> None:
    """End this process by the signal that ended the program."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


def _say(text: str) -> None:
    os.write(2, f"tbseg: {text}\n".encode(errors="replace"))


if __name__ == "__main__":
    main()
