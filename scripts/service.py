"""Start, find and end the local deployment: ``python -m scripts.service up|down|status``."""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from scripts.api import PATIENCE_SECONDS, Api, ApiError
from scripts.home import Home
from scripts.supervise import alone
from tbseg_ops.errors import ConfigError
from tbseg_ops.settings import START_SECONDS
from tbseg_ops.storage.locks import is_locked

DAG = "tbseg_segment"
FIRST_PORT = 8080
STOP_SECONDS = 45.0


class ServiceError(Exception):
    """The deployment did not start or stop; the text says what to look at."""


@dataclass(frozen=True)
class Service:
    """A running deployment: its supervisor's process and the API server's port."""

    home: Home
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def login(self, patience: float = PATIENCE_SECONDS) -> Api:
        return Api(self.url, "admin", self.home.password(), patience)


def find(home: Home) -> Service | None:
    """The running deployment of this home, or None."""
    while is_locked(home.lock):
        with contextlib.suppress(ValueError):  # locked, and not written yet
            return Service(home, **json.loads(home.lock.read_text()))
        time.sleep(0.2)
    return None


def up(home: Home, port: int | None = None) -> Service:
    """The deployment, started if it does not run, once it can take a run."""
    service = find(home)
    if service is None:
        home.prepare()
        with alone(home) as lock:
            if lock is not None:  # else somebody else is quicker
                _launch(home, free_port(FIRST_PORT if port is None else port), lock)
        service = find(home)
        if service is None:
            raise ServiceError(f"Airflow did not start.\n{_tail(home.log('supervisor'))}")
    _wait_until_ready(service)
    home.ready.touch()
    return service


def _launch(home: Home, port: int, lock: int) -> None:
    """Start the supervisor. The lock goes over to it: there is no moment without."""
    with home.log("supervisor").open("ab") as output:
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "scripts.supervise", str(home.path), str(port), str(lock)],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
        )


def down(home: Home) -> bool:
    """End the deployment and everything that it runs; False if it did not run."""
    service = find(home)
    if service is None:
        if home.lock.exists():
            with alone(home):
                return False
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(service.pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while find(home) is not None:
        if time.monotonic() > end:
            raise ServiceError(
                f"Airflow (process {service.pid}) did not end in {STOP_SECONDS:.0f} s"
            )
        time.sleep(0.1)
    return True


def free_port(first: int) -> int:
    """The first free port from ``first`` on, of twenty; after that any."""
    for port in [*range(first, first + 20), 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise ServiceError("no free port on 127.0.0.1")


def _wait_until_ready(service: Service) -> None:
    """Until the database, all components and the DAG answer; ServiceError when they do not."""
    begin, patience = time.monotonic(), START_SECONDS.value or float(START_SECONDS.unset)
    shown = waiting = "the API server"
    while time.monotonic() - begin < patience:
        if find(service.home) is None:
            raise ServiceError(f"Airflow ended while it started.\n{_logs(service.home)}")
        waiting = _not_ready(service)
        if not waiting:
            return
        if waiting != shown and sys.stdout.isatty():
            print(f"  waiting for {waiting}", flush=True)
            shown = waiting
        time.sleep(0.5)
    raise ServiceError(
        f"Airflow was not ready after {patience:.0f} s: still waiting for {waiting}.\n"
        f"{_logs(service.home)}\n(a slow machine: {START_SECONDS.name}=900)"
    )


def _not_ready(service: Service) -> str:
    """What is not there yet; empty when all is."""
    try:
        # The part that tasks talk to is loaded when it is first asked, which takes seconds: now,
        # while other components start, and not when the first task does.
        httpx.get(f"{service.url}/execution/health", timeout=PATIENCE_SECONDS, trust_env=False)
        api = service.login(patience=0.0)
        health = api.get("monitor/health")
        for component in ("metadatabase", "scheduler", "dag_processor", "triggerer"):
            if health[component]["status"] != "healthy":
                return f"the {component.replace('_', ' ')}"
        api.get(f"dags/{DAG}")
    except httpx.TransportError:
        return "the API server"
    except ApiError as error:
        if error.status == 404:
            return f"the DAG {DAG}"
        return f"the API server (it answers {error.status})"
    return ""


def _logs(home: Home) -> str:
    names = ("supervisor", "migrate", "api-server", "scheduler", "dag-processor", "triggerer")
    newest = [home.log(name) for name in names if home.log(name).exists()]
    return "\n".join(_tail(path, 5) for path in newest)


def _tail(path: Path, lines: int = 20) -> str:
    text = path.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([f"--- the end of {path}", *text])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.service")
    parser.add_argument("command", choices=["up", "down", "status"])
    parser.add_argument("--home", type=Path, default=Path.cwd(), help="the deployment's folder")
    parser.add_argument("--port", type=int, help=f"default: the first free one from {FIRST_PORT}")
    options = parser.parse_args()
    home = Home(options.home.absolute())
    try:
        if options.command == "up":
            print(banner(up(home, options.port)))
        elif options.command == "down":
            print("Airflow has ended." if down(home) else "Airflow was not running.")
        else:
            service = find(home)
            print(banner(service) if service else "Airflow is not running.")
    except (ServiceError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def banner(service: Service) -> str:
    """How to reach a deployment."""
    return "\n".join(
        [
            f"Airflow    {service.url}",
            f"log-in     user admin, password {service.home.password()}",
            "to stop    make down",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
