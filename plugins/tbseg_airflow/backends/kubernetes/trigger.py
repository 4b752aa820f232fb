"""What waits for a pod, in Airflow's triggerer."""

import datetime
from typing import Any

from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    PodLaunchTimeoutException,
    PodPhase,
)

LOST_SECONDS = 60.0


class PodTrigger(KubernetesPodTrigger):
    """Also gives a pod up whose node is lost.

    Such a pod stays "Running" for ever: it is marked as deleted, but nobody is there to end it.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", super().serialize()[1]

    async def _get_pod(self) -> Any:  # type: ignore[override]
        pod = await super()._get_pod()
        gone_by = pod.metadata.deletion_timestamp
        if gone_by is not None and pod.status.phase not in PodPhase.terminal_states:
            late = datetime.datetime.now(tz=datetime.UTC) - gone_by
            if late.total_seconds() > LOST_SECONDS:
                raise PodLaunchTimeoutException(  # which the operator takes as the pod's end
                    f"the node {pod.spec.node_name} is lost: pod {self.pod_name} should have ended"
                    f" {late.total_seconds():.0f} s ago"
                )
        return pod
