"""The pool of each instance: by the run's backend, kept through clears, and never a missing one."""

from datetime import UTC, datetime

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports

DAG = "tbseg_segment"
WORK = {"doctor", "ingest", "split", "calibrate", "classify", "merge", "export"}


@pytest.fixture(scope="module")
def database(home):
    """A database that knows the DAG."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    with create_session() as session:
        initdb(session=session)
        if session.get(DagBundleModel, "tbseg") is None:
            session.add(DagBundleModel(name="tbseg"))
    sync_bag_to_db(DagBag(dag_folder=str(home.path / "dags")), "tbseg", None)


@pytest.fixture
def session(database):
    """A transaction without a single pool of ours, undone after the test."""
    from airflow.models.pool import Pool
    from airflow.settings import Session
    from sqlalchemy import delete

    with Session() as session:
        session.execute(delete(Pool).where(Pool.pool != Pool.DEFAULT_POOL_NAME))
        yield session
        session.rollback()


def started(session, **conf):
    """A run as the API server or the scheduler makes it."""
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    dag = DBDagBag().get_latest_version_of_dag(DAG, session=session)
    return dag.create_dagrun(
        run_id="a_run",
        conf=conf,
        run_after=datetime.now(UTC),
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        session=session,
    )


def add(session, *names):
    from airflow.models.pool import Pool

    for name in names:
        session.add(Pool(pool=name, slots=3, include_deferred=True))
    session.flush()


def pools(run, session):
    """Task (and map index) to pool."""
    session.flush()
    return {
        (ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"): ti.pool
        for ti in run.get_task_instances(session=session)
    }


@pytest.mark.parametrize(
    ("conf", "pool"),
    [
        ({"backend": "ssh"}, "tbseg_ssh"),
        ({"backend": "kubernetes"}, "tbseg_kubernetes"),
        ({"backend": "local"}, "tbseg_local"),
        ({}, "tbseg_local"),  # the form's default
    ],
)
def test_the_steps_of_a_run_are_in_the_pool_of_its_backend(session, conf, pool):
    add(session, "tbseg_local", "tbseg_ssh", "tbseg_kubernetes")
    found = pools(started(session, **conf), session)
    assert {name for name, its in found.items() if its == pool} == WORK
    assert {its for name, its in found.items() if name not in WORK} == {"default_pool"}


def test_a_pool_that_is_missing_is_not_used(session):
    """Its instances would wait for ever."""
    add(session, "tbseg_local")
    assert set(pools(started(session, backend="ssh"), session).values()) == {"default_pool"}


def test_mapped_instances_and_cleared_ones_are_in_it_too(session):
    from airflow.models.dagbag import DBDagBag
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import clear_task_instances
    from airflow.models.taskmap import TaskMap
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import delete

    add(session, "tbseg_ssh")
    run = started(session, backend="ssh")
    plan = next(ti for ti in run.get_task_instances(session=session) if ti.task_id == "plan")
    plan.state = TaskInstanceState.SUCCESS
    session.add(TaskMap(DAG, "plan", run.run_id, -1, 3, None))
    session.flush()
    dag = DBDagBag().get_dag_for_run(run, session=session)
    TaskMap.expand_mapped_task(dag.get_task("classify"), run.run_id, session=session)
    mapped = [f"classify[{index}]" for index in range(3)]
    found = pools(run, session)
    assert [found[name] for name in mapped] == ["tbseg_ssh"] * 3

    instances = [ti for ti in run.get_task_instances(session=session) if ti.map_index >= 0]
    for ti in instances:
        ti.state = TaskInstanceState.FAILED
    clear_task_instances(instances, session)
    found = pools(run, session)
    assert [found[name] for name in mapped] == ["tbseg_ssh"] * 3
    # Its pool was removed in the meantime: cleared, it goes on in the other.
    session.execute(delete(Pool).where(Pool.pool == "tbseg_ssh"))
    clear_task_instances(instances[:1], session)
    assert sorted(pools(run, session)[name] for name in mapped) == [
        "default_pool",
        "tbseg_ssh",
        "tbseg_ssh",
    ]


def test_missing_pools_are_made_when_the_scheduler_starts_and_others_are_left(database):
    from airflow.jobs.job import Job
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    with create_session() as session:
        session.execute(delete(Pool).where(Pool.pool != Pool.DEFAULT_POOL_NAME))
        session.add(Pool(pool="tbseg_ssh", slots=7, include_deferred=False, description="mine"))
    Job()
    Job()
    with create_session() as session:
        found = {p.pool: (p.slots, p.include_deferred) for p in session.scalars(select(Pool))}
    assert found == {
        "default_pool": (128, False),
        "tbseg_local": (-1, False),
        "tbseg_ssh": (7, False),
        "tbseg_kubernetes": (50, True),
    }
