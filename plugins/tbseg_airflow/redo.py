"""Whether a task instance runs because somebody chose to have just this one done again.

A person who clears one finished tile wants it computed again. Everybody else wants only what is
missing: a retry, a run cleared as a whole, a task below one that ran again. Airflow tells none of
this to the task, but it counts the clears of a run (``clear_number``) and raises ``max_tries`` of
an instance that is cleared. Each instance leaves the count at which it ran in its XCom. So:

- ``max_tries`` is what the DAG says: never cleared; a first run or its retry. Not chosen.
- A task above it ran since the last clear: the instance only follows. Not chosen.
- It has siblings, and none of them kept its result over the last clear: cleared all together.
  Not chosen.
- Otherwise it was chosen, alone or with a few others.
"""

from collections.abc import Iterable

from airflow.sdk.types import RuntimeTaskInstanceProtocol


def chosen_again(
    ti: RuntimeTaskInstanceProtocol, retries: int, clear_number: int, upstream: Iterable[str]
) -> bool:
    """See the module. ``retries`` are the DAG's; ``upstream`` are the tasks directly above."""
    if ti.max_tries <= retries or clear_number == 0:
        return False
    if any(ran == clear_number for ran in _ran_at(ti, upstream).values()):
        return False
    # States before results: an instance reports its result first.
    states = ti.get_task_states(ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id])
    own = f"{ti.task_id}_{ti.map_index}"
    siblings = {name: state for name, state in states[ti.run_id].items() if name != own}
    if not siblings:
        return True
    ran_at = _ran_at(ti, [ti.task_id])
    return any(
        str(state) == "success" and ran_at.get(name, clear_number) < clear_number
        for name, state in siblings.items()
    )


def _ran_at(ti: RuntimeTaskInstanceProtocol, task_ids: Iterable[str]) -> dict[str, int]:
    """At which clear count each instance of these tasks ran last, by "task" or "task_index"."""
    wanted = list(task_ids)
    return {
        report["instance"]: report["clear_number"]
        for report in (ti.xcom_pull(task_ids=wanted) if wanted else [])
        if isinstance(report, dict) and "clear_number" in report
    }
