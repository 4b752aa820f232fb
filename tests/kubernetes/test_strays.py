"""Pods whose task was ended while nobody could tell their trigger are removed by who comes back."""

import importlib
import os
import sys
from types import SimpleNamespace
from uuid import uuid4

import pytest

from tests.kubernetes.test_backend import SLEEPS, until

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


@pytest.fixture
def session():
    """A database with the tables that count, and nothing in them."""
    from airflow.models import import_all_models
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    import_all_models()
    engine = create_engine("sqlite://")
    for model in (TaskInstance, TaskInstanceHistory):
        model.__table__.create(engine)
    with Session(engine) as session:
        yield session


def put(session, key, *, state, index=-1, history=False):
    """A row of a task instance, or of an earlier try of it."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from sqlalchemy import insert

    model = TaskInstanceHistory if history else TaskInstance
    row = {"task_instance_id" if history else "id": key, "state": state, "map_index": index}
    row |= {"dag_id": "d", "run_id": "r", "task_id": "classify", "try_number": 1}
    row |= {"pool": "p", "pool_slots": 1, "queue": "q", "priority_weight": 1, "max_tries": 2}
    columns = model.__table__.columns.keys()
    session.execute(insert(model.__table__).values({k: row[k] for k in row if k in columns}))


def test_pods_of_tasks_that_are_over_are_removed(task, programs, cluster, session):
    from tbseg_airflow.backends.kubernetes.strays import remove_strays

    programs(SLEEPS)
    states = ["failed", "success", "removed", "running", "deferred", "up_for_retry", None, "other"]
    made = [task(map_index=index) for index in range(len(states))]
    for one, state in zip(made, states, strict=True):
        one.start()
        if state != "other":  # another Airflow's, or of a run that was deleted
            put(session, one.ti.id, state=state, index=one.ti.map_index)
    until(lambda: all(pod.process for pod in cluster.made) and len(cluster.made) == len(made))
    remove_strays(os.environ["AIRFLOW_VAR_TBSEG_KUBERNETES"], session)
    until(lambda: len(cluster.pods) == 5)
    assert set(cluster.pods) == {one.pods[0] for one in made[3:]}
    until(lambda: [pod.process.poll() is None for pod in cluster.made] == [False] * 3 + [True] * 5)


@pytest.mark.parametrize(
    ("state", "stays"), [("failed", False), ("success", False), ("queued", True), (None, True)]
)
def test_a_pod_of_an_earlier_try_is_judged_by_the_instance(session, state, stays):
    """A later try goes on with it."""
    from tbseg_airflow.backends.kubernetes.strays import over

    earlier, others = uuid4(), uuid4()
    put(session, earlier, state="failed", history=True)
    put(session, uuid4(), state=state)
    put(session, others, state="failed", history=True, index=4)  # its instance is gone
    put(session, uuid4(), state="failed", index=3)
    assert over([earlier, others], session) == (set() if stays else {earlier})


def test_whoever_comes_back_looks(cluster, variable, monkeypatch, caplog):
    from airflow.jobs.job import Job
    from tbseg_airflow.backends.kubernetes import strays
    from tbseg_airflow.comeback import PodKeeper

    asked = []
    monkeypatch.setattr(sys, "argv", ["airflow", "triggerer"])
    monkeypatch.setattr(strays, "remove_strays", lambda text, session: asked.append(text))
    PodKeeper().on_starting(SimpleNamespace())  # a task
    assert asked == []
    PodKeeper().on_starting(Job.__new__(Job))
    assert asked == [os.environ["AIRFLOW_VAR_TBSEG_KUBERNETES"]]
    assert not [record for record in caplog.records if record.name.startswith("tbseg")]
    monkeypatch.setattr(sys, "argv", ["airflow", "scheduler"])
    PodKeeper().on_starting(Job.__new__(Job))
    monkeypatch.setattr(sys, "argv", ["airflow", "triggerer"])
    monkeypatch.delenv("AIRFLOW_VAR_TBSEG_KUBERNETES")
    PodKeeper().on_starting(Job.__new__(Job))
    assert len(asked) == 1


def test_airflow_starts_without_the_cluster(cluster, variable, monkeypatch, caplog):
    from airflow.jobs.job import Job
    from tbseg_airflow.backends.kubernetes import strays
    from tbseg_airflow.comeback import PodKeeper

    monkeypatch.setattr(strays, "_TIMEOUT", (0.2, 0.2))
    monkeypatch.setattr(sys, "argv", ["airflow", "triggerer"])
    cluster.away(60, "cut")
    PodKeeper().on_starting(Job.__new__(Job))
    assert "pods that nobody waits for could not be looked for" in caplog.text


def test_the_plugin_registers_it():
    from tbseg_airflow.comeback import PodKeeper

    plugin = importlib.import_module("tbseg_pods").TbsegPods  # of the folder that Airflow reads
    assert [type(one) for one in plugin.listeners] == [PodKeeper]
