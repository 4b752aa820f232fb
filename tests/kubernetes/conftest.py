"""A cluster, and tasks that run in it as Airflow runs them: execute, trigger, resume."""

import asyncio
import contextlib
import importlib
import json
import os
import sys
from types import SimpleNamespace
from uuid import uuid4

import pytest
import yaml

from tests.airflow_home import ROOT, airflow_here
from tests.kubernetes.double import Cluster

IMAGE = "registry/tbseg:1"
# What docs/kubernetes.md has people apply, by kind.
APPLIED = {
    one["kind"]: one for one in yaml.safe_load_all((ROOT / "docker/kubernetes.yaml").read_text())
}
TEMPLATE = ROOT / "plugins/tbseg_airflow/backends/kubernetes/pod-template.yaml"


@pytest.fixture(scope="session", autouse=True)
def home():
    """The home of this process' Airflow. Tests import airflow themselves, after this."""
    return airflow_here()


@pytest.fixture
def programs(tmp_path):
    """The folder of the image's programs; ``programs(text)`` makes its tbseg a Python text."""
    folder = tmp_path / "image"
    folder.mkdir()

    def install(text, name="tbseg"):
        path = folder / name
        path.write_text(f"#!{sys.executable} -S\n{text}\n")
        path.chmod(0o755)

    install.folder = folder
    return install


@pytest.fixture
def cluster(programs, tmp_path, monkeypatch):
    made = Cluster({IMAGE: programs.folder})
    made.rules = APPLIED["Role"]["rules"]  # in all these tests Airflow has no more rights than this
    config = made.kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(config)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    yield made
    made.close()


@pytest.fixture
def variable(monkeypatch):
    """Sets the Airflow Variable of the backend."""

    def put(**values):
        settings = {"image": IMAGE, "pod_template": str(TEMPLATE), "namespace": "tbseg"}
        settings |= {"poll_seconds": 1, "log_seconds": 1} | values
        text = json.dumps({key: value for key, value in settings.items() if value is not None})
        monkeypatch.setitem(os.environ, "AIRFLOW_VAR_TBSEG_KUBERNETES", text)

    put()
    return put


class Store(dict):
    """Airflow's store of one task, over its tries."""

    def set(self, key, value):
        self[key] = value

    def delete(self, key):
        self.pop(key, None)


class Task:
    """One task instance, and what Airflow does with it."""

    def __init__(self, map_index=-1, task_id="classify", **values):
        from tbseg_airflow.operators.step import TbsegStep

        self.values = {"step": "classify", "run_dir": "/run", "backend": "kubernetes"} | values
        self.new = lambda: TbsegStep(task_id=task_id, **self.values)
        self.store = Store()
        self.ti = SimpleNamespace(task_id=task_id, dag_id="d", run_id="r", map_index=map_index)
        self.ti.max_tries, self.ti.try_number, self.ti.id = 2, 0, uuid4()
        self.ti.xcom_push = lambda **values: None
        self.pods = []  # by the triggers that waited

    def context(self):
        return {
            "ti": self.ti,
            "run_id": "manual__2026-01-01T00:00:00+00:00",
            "dag": SimpleNamespace(),
            "dag_run": SimpleNamespace(clear_number=0, conf={}),
            "task_state_store": self.store,
        }

    def start(self):
        """One try up to its deferral: the trigger, as the triggerer gets it."""
        from airflow.sdk.exceptions import TaskDeferred

        self.ti.try_number += 1
        self.ti.id = uuid4()
        with pytest.raises(TaskDeferred) as deferred:
            self.new().execute(self.context())
        return self.handed_over(deferred.value)

    def handed_over(self, deferred):
        assert deferred.method_name == "resume"
        path, values = deferred.trigger.serialize()
        module, _, name = path.rpartition(".")
        self.pods.append(values["pod_name"])
        # The least that the settings allow is a second, which most of these pods do not need.
        assert values["poll_interval"] == values["startup_check_interval"] == 1
        values |= {"poll_interval": 0.2, "startup_check_interval": 0.2}
        return getattr(importlib.import_module(module), name)(**values)

    def end(self, trigger):
        """The rest of the try."""
        from airflow.sdk.exceptions import TaskDeferred

        while True:
            event = asyncio.run(first(trigger))
            try:
                return self.new().resume(self.context(), event)
            except TaskDeferred as deferred:
                trigger = self.handed_over(deferred)

    def run(self):
        """One try to its end."""
        return self.end(self.start())


async def first(trigger):
    """The event that ends a trigger's wait."""
    async with contextlib.aclosing(trigger.run()) as events:
        return (await anext(events)).payload


@pytest.fixture
def task(cluster, variable):
    return Task
