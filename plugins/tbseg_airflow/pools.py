"""A pool of Airflow for each backend: how much of its work there may be at once.

Which backend a run takes is known when it is triggered and not when the DAG is read, so the pool
cannot stand in the DAG. ``task_instance_mutation_hook`` is Airflow's way (a *cluster policy*,
registered by ``config/airflow_local_settings.py``): the scheduler and the API server call it for
each task instance that they make, clear or restore. An exception in it would end the scheduler.

``Keeper`` (registered by ``plugins/tbseg_pools.py``) makes the pools that are missing. See
docs/airflow.md, "Pools".
"""

import contextlib
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from tbseg_ops import pipeline

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

# Airflow's models are imported when they are used: this module is loaded while Airflow itself is.

DAG = "tbseg_segment"
STEPS = frozenset(pipeline.remote())  # the others run here
NO_LIMIT = -1

# By backend, as they are made at first; what people change in them later stays.
# include_deferred: what waits for a job or a pod has a slot.
POOLS: dict[str, dict[str, Any]] = {
    "local": {
        "pool": "tbseg_local",
        "slots": NO_LIMIT,
        "description": "tbseg's work on the machine of Airflow."
        " The number of tasks at once is the limit.",
        "include_deferred": False,
    },
    "ssh": {
        "pool": "tbseg_ssh",
        "slots": 512,
        "description": "tbseg's work on hosts: jobs that run or wait for a place.",
        "include_deferred": True,
    },
    "kubernetes": {
        "pool": "tbseg_kubernetes",
        "slots": 50,
        "description": "tbseg's work in pods: pods there are at once.",
        "include_deferred": True,
    },
}


def task_instance_mutation_hook(task_instance: "TaskInstance", dag_run: "DagRun | None") -> None:
    """Put an instance that works on the run's backend into the backend's pool.

    Into Airflow's default pool where that pool is missing: the scheduler leaves an instance whose
    pool does not exist waiting for ever.
    """
    if dag_run is None or task_instance.dag_id != DAG or task_instance.task_id not in STEPS:
        return  # without a run: Airflow calls again when there is one
    wanted = POOLS.get(_backend(task_instance, dag_run))
    if wanted is not None:  # the task itself refuses another backend
        task_instance.pool = _or_default(wanted["pool"], dag_run)


def _backend(task_instance: "TaskInstance", dag_run: "DagRun") -> str:
    """The form's value; the DAG's own where the run was triggered without."""
    given = (dag_run.conf or {}).get("backend")
    if given is None:
        dag = getattr(dag_run, "dag", None) or getattr(task_instance.task, "dag", None)
        given = dag.params.get("backend") if dag is not None else None
    return str(given)


def _or_default(pool: str, dag_run: "DagRun") -> str:
    """Read in the run's own transaction: the scheduler allows no other, and no commit."""
    from airflow.models.pool import Pool
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return Pool.DEFAULT_POOL_NAME
    with session.no_autoflush:
        there = Pool.get_pool(pool, session=session) is not None
    return pool if there else Pool.DEFAULT_POOL_NAME


class Keeper:
    """Makes the pools that are missing when the scheduler starts, or another part with a job."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        from airflow.jobs.job import Job

        if isinstance(component, Job):  # else a task: it has no database
            make_missing()


def make_missing() -> None:
    """Make the pools that are not there."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy.exc import IntegrityError

    for wanted in POOLS.values():
        # Another part of Airflow, which starts at the same time, may be quicker.
        with contextlib.suppress(IntegrityError), create_session() as session:
            if Pool.get_pool(wanted["pool"], session=session) is None:
                session.add(Pool(**wanted))
