"""A real Airflow for the tests: scheduler, API server, DAG processor, triggerer, own database."""

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from scripts.api import Api, ApiError
from scripts.follow import Follower
from scripts.home import Home
from scripts.service import Service, find, free_port
from tbseg_ops.pipeline import STEPS
from tests.airflow_home import ROOT

DAG = "tbseg_segment"
REPROCESS = "tbseg_reprocess"
TASKS = tuple(step.name for step in STEPS)


def command(home: Home, *arguments: str) -> str:
    """``python -m scripts.service`` for this home; its output."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.service", *arguments, "--home", str(home.path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def deployed(home: Home) -> "Iterator[Deployment]":
    """An Airflow of this home at any free port; ended with the context."""
    try:
        command(home, "up", "--port", str(free_port(0)))
        yield Deployment(home, Deployment(home, None).service.login())
    finally:
        command(home, "down")


@dataclass
class Deployment:
    home: Home
    api: Api

    @property
    def service(self) -> Service:
        service = find(self.home)
        assert service is not None
        return service

    def pause(self, dag: str, paused: bool = True) -> None:
        """Switch a DAG's schedule off, or on; waits until Airflow has read the DAG."""
        end = time.monotonic() + 60
        while True:
            try:
                self.api.patch(f"dags/{dag}", {"is_paused": paused})
            except ApiError as error:
                if error.status != 404 or time.monotonic() > end:
                    raise
                time.sleep(0.5)
            else:
                return

    def page(self, path: str, api: Api | None = None) -> httpx.Response:
        """A page of tbseg, asked for by nobody or by who is logged in."""
        headers = {} if api is None else {"Authorization": api._client.headers["Authorization"]}
        address = f"{self.service.url}/tbseg/{path}"
        return httpx.get(address, headers=headers, trust_env=False, timeout=30)

    def trigger(self, **conf: Any) -> str:
        """Start a run; its id."""
        started = self.api.post(f"dags/{DAG}/dagRuns", {"logical_date": None, "conf": conf})
        return str(started["dag_run_id"])

    def wait(self, run: str, seconds: float = 240) -> str:
        """The final state of a run."""
        return Follower(self.api, DAG, run, TASKS).until_end(seconds)

    def run(self, **conf: Any) -> str:
        """A run that must succeed; its id."""
        run = self.trigger(**conf)
        assert self.wait(run) == "success", self.states(run)
        return run

    def clear(self, run: str, tasks: Iterable[str | list[Any]], downstream: bool = True) -> None:
        """As the button of the UI does it; waits for the end of the run, which must succeed."""
        body = {
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": list(tasks),
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.api.post(f"dags/{DAG}/clearTaskInstances", body)
        assert self.wait(run) == "success", self.states(run)

    def instances(self, run: str) -> dict[str, dict[str, Any]]:
        """By name: "plan", "classify[0]"."""
        found = Follower(self.api, DAG, run, TASKS).instances()
        return {
            i["task_id"] + (f"[{i['map_index']}]" if i["map_index"] >= 0 else ""): i for i in found
        }

    def states(self, run: str) -> dict[str, str]:
        return {name: i["state"] for name, i in self.instances(run).items()}

    def result(self, run: str, task: str, index: int = -1) -> Any:
        """What a task instance returned."""
        path = f"dags/{DAG}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return self.api.get(path, map_index=index, deserialize="true")["value"]

    def computed(self, run: str, task: str) -> list[int]:
        """How many tiles each instance of a mapped task has computed in its last run."""
        count = sum(name.startswith(f"{task}[") for name in self.instances(run))
        return [self.result(run, task, index)["computed"] for index in range(count)]

    def log(self, run: str, name: str) -> list[str]:
        follower = Follower(self.api, DAG, run, TASKS)
        return follower.log(self.instances(run)[name], lines=10_000)

    def until(self, run: str, name: str, state: str, seconds: float = 120) -> None:
        """Until an instance is in a state."""
        end = time.monotonic() + seconds
        while self.states(run).get(name) != state:
            assert time.monotonic() < end, self.states(run)
            time.sleep(0.1)
