"""What waits for a pod, in Airflow's triggerer."""

import asyncio
import datetime
import time
from functools import cached_property
from typing import Any

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import (
    TRANSIENT_CONNECTION_ERRORS,
    PodLaunchFailedException,
)
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    AsyncPodManager,
    PodLaunchTimeoutException,
    PodPhase,
    detect_pod_terminate_early_issues,
    parse_log_line,
)

from tbseg_airflow.backends.kubernetes.outcome import registry_away

LOST_SECONDS = 60.0
UNKNOWN_SECONDS = 600.0  # in which a node may come back that the cluster has lost sight of


class PodTrigger(KubernetesPodTrigger):
    """Also gives a pod up whose node is lost, and waits for a registry that is away.

    The pod of a lost node stays "Running" for ever: it is marked as deleted, but nobody is there to
    end it. Or its phase becomes "Unknown".
    """

    _unknown_since: float | None = None

    @cached_property
    def pod_manager(self) -> AsyncPodManager:
        return LogReader(async_hook=self.hook)

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
        if pod.status.phase != PodPhase.UNKNOWN:
            self._unknown_since = None
        elif self._unknown_since is None:
            self._unknown_since = time.monotonic()
        elif time.monotonic() - self._unknown_since > UNKNOWN_SECONDS:
            raise PodLaunchTimeoutException(
                f"nothing is known of pod {self.pod_name} for {UNKNOWN_SECONDS:.0f} s: its node"
                f" {pod.spec.node_name} does not answer"
            )
        return pod

    async def _wait_for_pod_start(self) -> Any:
        """Airflow takes a connection that was refused for an image that is not there."""
        end = time.monotonic() + self.startup_timeout
        while True:
            try:
                return await super()._wait_for_pod_start()
            except PodLaunchFailedException as error:
                fault = str(error)
            while fault:
                if not registry_away(fault):
                    raise PodLaunchFailedException(fault)
                if time.monotonic() > end:
                    raise PodLaunchTimeoutException(
                        "the registry of the image could not be reached."
                        f" More than {self.startup_timeout}s"
                    )
                await asyncio.sleep(self.startup_check_interval)
                fault = detect_pod_terminate_early_issues(await self._get_pod()) or ""


class NoLogError(Exception):
    """An answer to the question for a log that is none."""


_UNREADABLE: tuple[type[BaseException], ...] = (NoLogError, *TRANSIENT_CONNECTION_ERRORS)


class LogReader(AsyncPodManager):
    """Reads again what could not be read.

    While a node's kubelet is away the API server answers with an error. Airflow takes it for a log
    without lines, and goes on from the time of its question: what was printed meanwhile was lost.
    """

    _away = False

    async def fetch_container_logs_before_current_sec(
        self, pod: Any, container_name: str, since_time: Any = None
    ) -> Any:
        try:
            until = await super().fetch_container_logs_before_current_sec(
                pod, container_name, since_time
            )
        except _UNREADABLE as error:
            if not self._away:
                self.log.warning("the pod's log cannot be read now, but will be later: %s", error)
            self._away = True
            return since_time
        self._away = False
        return until

    def _emit_container_logs(self, logs: list[str], now: Any, container_name: str) -> None:
        if logs and parse_log_line(logs[0])[0] is None:  # each line of a log begins with a time
            raise NoLogError(" ".join(logs)[:500])
        super()._emit_container_logs(logs, now, container_name)
