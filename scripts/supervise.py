"""The parent of Airflow's components: starts them, restarts one that dies, ends them together.

It runs detached, started by ``scripts.service``. For as long as it lives it holds a lock on
``.airflow/service.lock``; so whether a deployment runs is a question to the kernel and never a
guess from a process number that may belong to somebody else by now.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

from scripts.home import Home, take
from scripts.leftovers import end_all, end_leftovers

COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    # Logs are read from the common disk; the log servers would listen on every address.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
MOST_RESTARTS = 5  # of one component, before the deployment is given up
TASK_GRACE = 12.0  # seconds for running tasks to end and to report
COMPONENT_GRACE = 8.0

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux


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


class Supervisor:
    def __init__(self, home: Home, port: int) -> None:
        self.home = home
        self.env = environment(home, port, len(os.sched_getaffinity(0)))
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = dict.fromkeys(COMPONENTS, 0)
        self.stopping = False

    def run(self) -> int:
        """Until a signal or a component that keeps dying; 0 after a signal, else 1."""
        if _prctl is not None:
            _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans stay ours, to be ended too
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        if self._airflow("migrate", ("db", "migrate")).wait() != 0:
            return 1
        failed = False
        for name in COMPONENTS:
            self.children[name] = self._airflow(name, COMPONENTS[name])
        while not self.stopping and not failed:
            time.sleep(0.2)
            self._reap()
            failed = not self._mend()
        self._end()
        return int(failed)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _airflow(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.home.log(name).open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "airflow", *arguments],
                cwd=self.home.path,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def _reap(self) -> None:
        """Bury what a dead component has left to us; the components themselves are polled."""
        own = {child.pid for child in self.children.values()}
        with contextlib.suppress(ChildProcessError):
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid in own:
                    return
                os.waitpid(dead.si_pid, 0)

    def _mend(self) -> bool:
        """Start what has died again; False when one has died too often."""
        for name, child in self.children.items():
            if child.poll() is None:
                continue
            print(f"{name} ended with {child.returncode}", flush=True)
            self.restarts[name] += 1
            if self.restarts[name] > MOST_RESTARTS:
                print(f"{name} does not stay up: giving up", flush=True)
                return False
            time.sleep(1)
            self.children[name] = self._airflow(name, COMPONENTS[name])
        return True

    def _end(self) -> None:
        """End tasks and components; the API server last, so that the tasks can still report."""
        server = self.children.pop("api-server")
        tree = [p for p in _descendants() if p.pid != server.pid]
        end_all(tree, TASK_GRACE)
        end_all([psutil.Process(server.pid)] if server.poll() is None else [], COMPONENT_GRACE)
        end_all(_descendants(), 1.0)


def _descendants() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


def _die_with_parent() -> None:
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def main(path: str, port: str) -> int:
    home = Home(Path(path))
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not take(descriptor):
        print("another supervisor runs already", flush=True)
        return 1
    end_leftovers(home)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "port": int(port)}).encode(), 0)
    return Supervisor(home, int(port)).run()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
