"""Parts of Airflow are killed while a run goes on: it ends right all the same."""

import contextlib
import os
import signal
import sqlite3
import time

import h5py
import psutil
import pytest

from scripts.service import Service, find
from tests.e2e.deployment import Deployment, command
from tests.reference_sets import ReferenceSet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.timeout(900),
]

NUCLEI = ReferenceSet("nuclei")


def start_slow_run(airflow, folder):
    """A run whose tiles are being classified, a second or two each; its id."""
    run = airflow.trigger(
        volume=f"{NUCLEI.volume}:/data",
        classifier=str(NUCLEI.classifier),
        tile="32,128,128",
        run=str(folder),
    )
    airflow.until(run, "classify[0]", "running", seconds=180)
    return run


@pytest.fixture
def started(airflow, tmp_path):
    return start_slow_run(airflow, tmp_path / "run")


def arguments(process: psutil.Process) -> list[str]:
    """Of a process that may have ended meanwhile."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def component(service: Service, name: str) -> psutil.Process:
    """The process of a component."""
    for process in psutil.Process(service.pid).children():
        if name in " ".join(arguments(process)).replace("_", "-"):
            return process
    raise AssertionError(f"{name} does not run")


def kill_tree(process: psutil.Process) -> None:
    for one in [process, *process.children(recursive=True)]:
        one.kill()


def assert_right(airflow: Deployment, run: str, folder) -> None:
    assert airflow.wait(run, seconds=600) == "success", airflow.states(run)
    with h5py.File(folder / "run" / "segmentation.h5") as file:
        assert (file["labels"][()] == NUCLEI.labels()).all()


@pytest.mark.parametrize("name", ["scheduler", "api-server", "dag-processor", "triggerer"])
def test_a_component_is_killed(airflow, started, tmp_path, name):
    before = component(airflow.service, name)
    before.kill()
    assert_right(airflow, started, tmp_path)
    assert component(airflow.service, name).pid != before.pid


def test_the_scheduler_dies_with_all_its_tasks(airflow, started, tmp_path):
    kill_tree(component(airflow.service, "scheduler"))
    assert_right(airflow, started, tmp_path)


def test_a_task_process_is_killed(airflow, started, tmp_path):
    """Its command ends with it, and Airflow tries again."""
    end = time.monotonic() + 60
    commands: list[psutil.Process] = []
    while not commands:
        assert time.monotonic() < end
        scheduler = component(airflow.service, "scheduler")
        commands = [p for p in scheduler.children(recursive=True) if "classify" in arguments(p)]
    victim = commands[0]
    victim.parent().kill()
    victim.wait(timeout=60)  # while it compiles kernels it hears no signal
    assert_right(airflow, started, tmp_path)


def test_the_deployment_is_stopped_and_started(airflow, started, tmp_path):
    port = str(airflow.service.port)
    tree = psutil.Process(airflow.service.pid).children(recursive=True)
    command(airflow.home, "down")
    assert not [p for p in tree if p.is_running()]
    assert find(airflow.home) is None
    command(airflow.home, "up", "--port", port)
    assert_right(airflow, started, tmp_path)


def test_the_database_is_away_for_a_minute(airflow, started, tmp_path):
    """Twice as long as a lock is waited for, and as long as a task may be silent."""
    database = airflow.home.path / ".airflow" / "airflow.db"
    with contextlib.closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        time.sleep(60)
        lock.execute("ROLLBACK")
    assert_right(airflow, started, tmp_path)


@pytest.mark.parametrize("how", ["up", "down"])
def test_the_supervisor_is_killed(airflow, started, tmp_path, how):
    """The next start, or stop, ends what it has left."""
    service = airflow.service
    tree = psutil.Process(service.pid).children(recursive=True)
    os.kill(service.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(service.pid)], timeout=5)
    if how == "down":
        command(airflow.home, "down")
        _, alive = psutil.wait_procs(tree, timeout=5)
        assert not alive
    command(airflow.home, "up", "--port", str(service.port))
    _, alive = psutil.wait_procs(tree, timeout=5)
    assert not alive
    assert_right(airflow, started, tmp_path)
