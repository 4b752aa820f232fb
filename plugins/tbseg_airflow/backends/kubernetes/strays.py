"""Removes pods that no task waits for any more, when a part of Airflow comes back.

Who marks a task as failed has its trigger end the pod. While the triggerer is down nobody is told:
the pod would run to its end, and stay. See docs/kubernetes.md.
"""

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.utils.state import State
from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from tbseg_airflow.backends.kubernetes.pod import LABEL
from tbseg_airflow.backends.kubernetes.settings import VARIABLE, KubernetesSettings
from tbseg_airflow.backends.variable import parsed

_TIMEOUT = (3, 10)  # seconds to connect, to answer: a part of Airflow waits for it to start

log = logging.getLogger(__name__)


def remove_strays(text: str, session: Session) -> None:
    """End the pods of this Airflow's task instances that are over, and remove them.

    ``text``: of the Variable of the backend. Pods that others made are left, and those of runs that
    were deleted: whose they are cannot be told.
    """
    chosen = parsed(VARIABLE, KubernetesSettings, text)
    with _as_server():
        hook = KubernetesHook(conn_id=chosen.conn_id)
        namespace = chosen.namespace or hook.get_namespace() or "default"
        client = hook.core_v1_client
    pods = client.list_namespaced_pod(
        namespace, label_selector=LABEL, _request_timeout=_TIMEOUT
    ).items
    by_id = {pod.metadata.name: UUID(pod.metadata.labels[LABEL]) for pod in pods}
    ended = over(by_id.values(), session)
    for name in [name for name, instance in by_id.items() if instance in ended]:
        log.info("pod %s is removed: its task is over, and nobody waits for it", name)
        client.delete_namespaced_pod(name, namespace, _request_timeout=_TIMEOUT)


def over(tries: Collection[UUID], session: Session) -> set[UUID]:
    """Of tries of task instances that this Airflow made: those whose instance is in a final state.

    A try is not asked for its own state: a later one goes on with its pod.
    """
    now, then = TaskInstance, TaskInstanceHistory
    same = and_(
        now.dag_id == then.dag_id,
        now.run_id == then.run_id,
        now.task_id == then.task_id,
        now.map_index == then.map_index,
    )
    found: list[Any] = [
        *session.execute(select(now.id, now.state).where(now.id.in_(tries))),
        *session.execute(
            select(then.task_instance_id, now.state)
            .join(now, same)
            .where(then.task_instance_id.in_(tries))
        ),
    ]
    return {instance for instance, state in found if state in State.finished}


@contextmanager
def _as_server() -> Iterator[None]:
    """Connections of the database, too: a part that starts has not said so yet what it is."""
    key = "_AIRFLOW_PROCESS_CONTEXT"
    before = os.environ.get(key)
    os.environ[key] = "server"
    try:
        yield
    finally:
        os.environ.pop(key)
        if before is not None:
            os.environ[key] = before
