"""The parent of Airflow's components: starts them, restarts one that dies, ends them together.

It runs detached, started by ``scripts.service``. For as long as it lives it holds a lock on
``.airflow/service.lock``; so whether a deployment runs is a question to the kernel and never a
guess from a process number that may belong to somebody else by now.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from scripts.home import Home
from tbseg_ops.processes.lifetime import (
    adopt_orphans,
    collect_orphans,
    die_with_parent,
    end,
    end_all,
    is_alive,
    session,
)

COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # Logs are read from the common disk; the log servers would listen on every address.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
MOST_RESTARTS = 5  # of one component, before a deployment that was never ready is given up
STAYS_UP = 30.0  # seconds; after that a component that dies is started again at once
LONGEST_PAUSE = 15.0  # seconds before one that has just died is
TASK_GRACE = 12.0  # seconds for running tasks to end and to report
COMPONENT_GRACE = 8.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def environment(home: Home, port: int, cores: int) -> dict[str, str]:
    """The environment of a component: the caller's, with what follows from home and port."""
    url = f"http://127.0.0.1:{port}"
    env = dict(os.environ)
    env.pop("AIRFLOW_CONFIG", None)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # each task would compile the DAGs and tbseg again
    env["AIRFLOW_HOME"] = str(home.path)
    env["AIRFLOW__API__PORT"] = str(port)
    env["AIRFLOW__API__BASE_URL"] = url
    env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = f"{url}/execution/"
    env.setdefault("AIRFLOW__CORE__PARALLELISM", str(max(2, cores)))
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    # Tasks talk to the API server of this machine; a proxy must not stand between.
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, [env.get(name), "127.0.0.1", "localhost"]))
    return env


@dataclass
class Starts:
    """How the starts of a component went, and when it is due again (monotonic seconds)."""

    failed: int = 0  # in a row
    running: bool = False
    since: float = 0.0
    due: float = 0.0

    def begun(self, now: float) -> None:
        self.running, self.since = True, now

    def ended(self, now: float) -> None:
        if now - self.since >= STAYS_UP:
            self.failed = 0
        self.failed += 1
        self.running, self.due = False, now + min(2.0 ** (self.failed - 1), LONGEST_PAUSE)


class Supervisor:
    def __init__(self, home: Home, port: int) -> None:
        self.home = home
        self.env = environment(home, port, len(os.sched_getaffinity(0)))
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.starts = {name: Starts() for name in COMPONENTS}

    def run(self) -> int:
        """Until a signal, which raises SystemExit, or a component that keeps dying: then 1."""
        self.home.ready.unlink(missing_ok=True)  # of an earlier one
        adopt_orphans()  # what a component that died has left is ended with the others
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # no migration ends half way
        if self._airflow("migrate", ("db", "migrate")).wait() != 0:
            return 1
        for number in _SIGNALS:
            signal.signal(number, _leave)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for name in COMPONENTS:
                self._start(name)
            while self._mend():
                time.sleep(0.2)
            return 1
        finally:
            self._end()

    def _airflow(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.home.log(name).open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "airflow", *arguments],
                cwd=self.home.path,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )

    def _start(self, name: str) -> None:
        self.children[name] = self._airflow(name, COMPONENTS[name])
        self.starts[name].begun(time.monotonic())

    def _mend(self) -> bool:
        """Start what has died again; False if it never was ready and one of them keeps dying."""
        for name, child in self.children.items():
            starts, now = self.starts[name], time.monotonic()
            if child.poll() is None:
                continue
            if starts.running:
                starts.ended(now)
                print(f"{name} ended with {child.returncode}", flush=True)
            if self.is_hopeless(starts):
                print(f"{name} does not stay up: giving up", flush=True)
                return False
            if now >= starts.due:
                self._start(name)
        collect_orphans([child.pid for child in self.children.values()])
        return True

    def is_hopeless(self, starts: Starts) -> bool:
        """Whether patience mends nothing.

        A deployment that never was ready has wrong settings. One that was has lost something for a
        while, such as its database: components are started again until that is back.
        """
        return starts.failed > MOST_RESTARTS and not self.home.ready.exists()

    def _end(self) -> None:
        """End tasks and components; the API server last, so that the tasks can still report."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        if server := self.children.get("api-server"):
            tree = psutil.Process().children(recursive=True)
            end([process for process in tree if process.pid != server.pid], TASK_GRACE)
            end_all(server, COMPONENT_GRACE)


@contextlib.contextmanager
def alone(home: Home) -> Iterator[int | None]:
    """Hold the supervisor's lock (its descriptor; None if somebody else does), all else ended.

    What a supervisor that was killed has left running is in the session that it had begun, and
    works in the home. The file may be old: a session of that number whose leader lives is not ours.
    """
    lock = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(lock):
            yield None
            return
        before = os.pread(lock, 1000, 0)
        os.ftruncate(lock, 0)  # whoever sees the lock must not read of another supervisor
        with contextlib.suppress(ValueError, KeyError):
            leader = json.loads(before)["pid"]
            found = session(leader)
            if not any(p.pid == leader and is_alive(p) for p in found):  # else it is another's
                end([p for p in found if _works_in(p, home.path)], grace=5.0)
        yield lock
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    """Take a lock; whoever only looks whether it is locked holds it for an instant."""
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(0.05)
    return False


def _works_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.cwd() == str(folder))
    return False


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main(path: str, port: str, lock: str) -> int:
    """``lock``: a descriptor that holds the lock of the home for as long as this process lives."""
    os.set_inheritable(int(lock), False)
    os.pwrite(int(lock), json.dumps({"pid": os.getpid(), "port": int(port)}).encode(), 0)
    return Supervisor(Home(Path(path)), int(port)).run()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
