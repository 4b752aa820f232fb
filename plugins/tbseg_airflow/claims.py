"""Who holds the claim of a dataset, where that is a run of ``tbseg_segment``.

``tbseg_ops`` cannot ask Airflow whether such a holder is still at work; the tasks here can.
"""

from typing import Any

from airflow.sdk.types import RuntimeTaskInstanceProtocol

SEGMENT = "tbseg_segment"
_PREFIX = f"airflow {SEGMENT}/"


def holder_of(run_id: str) -> str:
    """The holder's name of a run of ``tbseg_segment``."""
    return f"{_PREFIX}{run_id}"


def is_dead(held: Any, ti: RuntimeTaskInstanceProtocol) -> bool:
    """Whether the holder of a claim (``tbseg_ops.datasets.Claim``) is known not to work any more.

    False for a holder that is neither a run of ``tbseg_segment`` nor a process of this host.
    """
    if not held.holder.startswith(_PREFIX):
        return bool(held.is_dead)
    run_id = held.holder.removeprefix(_PREFIX)
    return ti.get_dr_count(SEGMENT, run_ids=[run_id], states=["queued", "running"]) == 0
