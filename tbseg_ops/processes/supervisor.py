"""Runs one program and leaves nothing of it behind; started by ``bounded``, never imported.

    python -I -S supervisor.py SPEC PROGRAM [ARGUMENT ...]      (SPEC: JSON, see bounded.py)

It is a process of its own because what it does must happen in a child before the program starts,
and Python code between fork and exec is not safe in a process with threads; and because it has to
outlive the parent: if that is killed in any way, the kernel sends SIGTERM here, the program and
everything it started are killed, and the working folder is removed.

Ends as the program ended: with its exit code, or by the same signal. 127: the program cannot be
started. 126: isolation was required and the kernel did not grant it.
Only the standard library, so that nothing of the project or of site-packages is loaded.
"""

import ctypes
import errno
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    spec = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *_ENDINGS})
    _isolate(spec["isolation"])
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    status, told = 0, False
    if os.getppid() == spec["parent"]:  # else the parent died before it could be watched
        status, told = _run(sys.argv[2:], spec["memory"], spec["grace"])
    if told:
        _await_death(spec["parent"])
    if os.getppid() != spec["parent"]:
        os.chdir("/")
        for _ in range(50):  # what was killed a moment ago may still be writing
            shutil.rmtree(spec["folder"], ignore_errors=True)
            if not os.path.lexists(spec["folder"]):
                break
            time.sleep(0.1)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))


def _await_death(parent: int) -> None:
    """Wait half a second for the parent to be gone, if it is about to be.

    The kernel's signal comes when the thread that started us ends. Of a parent that is killed other
    threads may live on for a moment, and until then it is our parent still.
    """
    end = time.monotonic() + 0.5
    while os.getppid() == parent and time.monotonic() < end:
        time.sleep(0.01)


def _run(argv: list[str], memory: int, grace: float) -> tuple[int, bool]:
    """Start the program, wait for its end or for a signal to end it.

    Its wait status, and whether there was such a signal.
    """
    program, told = os.fork(), False
    if program == 0:
        _become(argv, memory)
    status: int | None = None
    deadline: float | None = None
    while status is None:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            _kill(-program, signal.SIGKILL)
            deadline, left = None, None
        caught = (
            signal.sigwaitinfo({signal.SIGCHLD, *_ENDINGS})
            if left is None
            else signal.sigtimedwait({signal.SIGCHLD, *_ENDINGS}, left)
        )
        if caught is not None and caught.si_signo in _ENDINGS and deadline is None:
            told = True
            _kill(-program, signal.SIGTERM)
            deadline = time.monotonic() + grace
        status = _reap(program)
    _kill(-program, signal.SIGKILL)  # what the program left running in its own group
    while orphans := list(_children()):  # and what left the group: it is ours as the subreaper
        for pid in orphans:
            _kill(pid, signal.SIGKILL)
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return status, told


def _become(argv: list[str], memory: int) -> None:
    """In the forked child: limits, then the program. Never returns."""
    try:
        os.setpgid(0, 0)
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory if ceiling == resource.RLIM_INFINITY else min(memory, ceiling)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.execvp(argv[0], argv)  # noqa: S606 - a list of arguments, no shell
    except OSError as error:
        _say(f"{argv[0]}: cannot be started: {error.strerror}")
    finally:
        os._exit(127)


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


def _reap(program: int) -> int | None:
    """Collect every child that has ended; the status of ``program`` if it was among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == program:
                found = ended[1]
    return found


def _children() -> Iterator[int]:
    """The processes whose parent is this one, zombies included."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                # The name in parentheses may hold anything; state and parent follow it.
                parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[1]
                if int(parent) == os.getpid():
                    yield int(entry.name)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


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
