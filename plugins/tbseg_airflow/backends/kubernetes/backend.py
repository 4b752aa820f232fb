"""The backend that runs a command in a pod of its own.

Airflow's KubernetesPodOperator does the work: it makes the pod or finds the one that an earlier try
made, waits in the triggerer, and removes it. What is added here is the command's report, its exit
code as an exception, and more memory for a pod that ran out of it. See docs/kubernetes.md.
"""

import contextlib
import logging
import math
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import generic_api_retry
from airflow.providers.cncf.kubernetes.operators.pod import (
    POD_IDENTIFIER_STATE_KEY,
    KubernetesPodOperator,
)
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import V1Pod
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from tbseg_airflow.backends.contract import Line
from tbseg_airflow.backends.kubernetes.outcome import MEMORY_KEY, outcome, server_asked
from tbseg_airflow.backends.kubernetes.pod import manifest, most_memory
from tbseg_airflow.backends.kubernetes.settings import KubernetesSettings, settings
from tbseg_airflow.backends.kubernetes.trigger import PodTrigger
from tbseg_airflow.outcome import Failure, StepFailed, StepRefused
from tbseg_airflow.transcript import Transcript
from tbseg_ops.pipeline import resources_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tbseg_airflow.operators.step import TbsegStep

TAIL_LINES = 2000  # of a pod's log: an error's message and the report are its end
QUIET = logging.Logger("quiet", logging.CRITICAL + 1)


class KubernetesBackend:
    """Each command has its own pod; a retry finds the pod that still runs."""

    def start(self, step: "TbsegStep", context: "Context", arguments: Sequence[str]) -> NoReturn:
        """Make the pod, or find it, and defer. StepRefused, StepFailed if that cannot be done."""
        chosen = settings()
        store = context.get("task_state_store")
        too_little = store.get(MEMORY_KEY) if store is not None else None
        pod = manifest(
            chosen,
            resources_of(step.step),
            arguments,
            str(too_little) if too_little else None,
            str(context["ti"].id),
        )
        container = pod["spec"]["containers"][0]
        step.log.info("image %s, %s", container["image"], container["resources"])
        step.log.info("$ %s", shlex.join(arguments))
        made = operator(step, chosen, pod)
        step.end_elsewhere = made.on_kill  # until there is a trigger
        try:
            with server_asked("to make the pod"):
                made.execute_async(context)  # defers
        except (ConfigException, OSError) as error:
            raise StepRefused(
                "the connection to Kubernetes cannot be used",
                connection=chosen.conn_id,
                found=error,
                mend="correct it, in Airflow under Admin, Connections",
            ) from None
        raise StepFailed("the pod had ended before anybody could wait for it")

    def resume(
        self, step: "TbsegStep", context: "Context", event: dict[str, Any], **kept: Any
    ) -> dict[str, Any]:
        """The report of the command; StepFailed or StepRefused. Removes the pod."""
        chosen = settings()
        made = operator(step, chosen)
        step.end_elsewhere = made.on_kill  # there is none any more
        try:
            with server_asked("to read the pod"):
                made.trigger_reentry(context, event)  # may defer again
        except Failure:
            raise
        except PodNotFoundException:
            pass
        except AirflowException as error:  # the pod itself tells it better
            if (made.pod or made.seen) is None:
                raise StepFailed(str(error)) from None
        store = context.get("task_state_store")
        most = most_memory(chosen, resources_of(step.step))
        pod, container = made.pod or made.seen, made.base_container_name
        return outcome(pod, container, event, made.transcript, store, most, made.unread)


def operator(
    step: "TbsegStep", chosen: KubernetesSettings, pod: dict[str, Any] | None = None
) -> "StepPod":
    """The operator that makes ``pod``; without one, only for going on with a pod that is there."""
    made = StepPod(
        task_id=step.task_id,
        kubernetes_conn_id=chosen.conn_id,
        namespace=chosen.namespace,
        name=f"tbseg-{step.step}",
        pod_template_dict=pod,
        automount_service_account_token=False,
        deferrable=True,
        durable=True,
        do_xcom_push=False,
        get_logs=True,
        logging_interval=chosen.log_seconds,
        poll_interval=chosen.poll_seconds,
        startup_check_interval_seconds=chosen.poll_seconds,
        schedule_timeout_seconds=chosen.schedule_seconds,
        startup_timeout_seconds=chosen.startup_seconds,
        execution_timeout=step.execution_timeout,
        on_finish_action="delete_pod",
        on_kill_action="delete_pod",
        log_pod_spec_on_failure=False,
    )
    made.transcript = Transcript(f"tbseg {step.step}", step.log)
    return made


class StepPod(KubernetesPodOperator):
    """Airflow's operator, as a part of a step: it resumes the step, and reads its transcript."""

    transcript: Transcript
    seen: V1Pod | None = None
    unread: bool = False  # the end of the log, although there is one

    def defer(  # type: ignore[override]
        self,
        *,
        trigger: KubernetesPodTrigger,
        method_name: str,
        kwargs: dict[str, Any] | None = None,
        timeout: timedelta | float | None = None,
    ) -> NoReturn:
        """Wait for the pod, and then resume the step instead of this operator."""
        waiting = PodTrigger(**trigger.serialize()[1])
        super().defer(trigger=waiting, method_name="resume", kwargs=kwargs, timeout=timeout)

    def _get_pod_from_task_state_store(self, context: "Context") -> V1Pod | None:
        """The pod of an earlier try; that it has been removed by now is no reason to warn."""
        store = context.get("task_state_store")
        stored = store.get(POD_IDENTIFIER_STATE_KEY) if store is not None else None
        if store is not None and isinstance(stored, dict):
            try:
                self.hook.get_pod(str(stored.get("name")), str(stored.get("namespace")))
            except ApiException as error:
                if error.status != 404:
                    raise
                store.delete(POD_IDENTIFIER_STATE_KEY)
        return super()._get_pod_from_task_state_store(context)

    def _clean(self, event: dict[str, Any], result: Any, context: "Context") -> None:
        """Remove the pod as it is: Airflow would wait in its slot for a final phase, for ever.

        The trigger has waited for the end of the container that counts.
        """
        if self.pod is None:
            return
        with contextlib.suppress(ApiException):  # it may be gone; what was seen of it stays
            self.pod = self.pod_manager.read_pod(self.pod)
        self.post_complete_action(pod=self.pod, remote_pod=self.pod, context=context, result=result)

    def _write_logs(  # type: ignore[override]
        self, pod: V1Pod, follow: bool = False, since_time: Any = None
    ) -> None:
        """The end of the log into the transcript; into the task's log what is not there yet."""
        self.seen = pod
        try:
            lines = list(self._tail(pod))
            new = len(lines) if since_time is None else len(list(self._tail(pod, since_time)))
        except (ApiException, HTTPError) as error:
            if isinstance(error, ApiException) and error.status in (400, 404):
                return  # a container that never ran has no log
            self.unread = True
            raise  # which Airflow logs
        if new >= TAIL_LINES:
            self.log.warning("of what the pod printed here are the last %d lines", TAIL_LINES)
        for index, text in enumerate(lines):
            self.transcript.log = self.log if index >= len(lines) - new else QUIET
            self.transcript.add(_line(text))
        self.transcript.log = self.log

    def _tail(self, pod: V1Pod, since: Any = None) -> Iterator[str]:
        @generic_api_retry  # type: ignore[untyped-decorator]
        def read(**options: Any) -> Any:
            return self.client.read_namespaced_pod_log(
                name=pod.metadata.name,
                namespace=pod.metadata.namespace,
                container=self.base_container_name,
                tail_lines=TAIL_LINES,
                _preload_content=False,
                **options,
            ).data

        options = {}
        if since is not None:
            at = datetime.fromisoformat(str(since))
            options["since_seconds"] = max(1, math.ceil((datetime.now(UTC) - at).total_seconds()))
        for raw in read(**options).split(b"\n"):
            if raw:
                yield raw.decode(errors="replace").rstrip("\r")


def _line(text: str) -> Line:
    """A pod has one log for both streams; of the two, only results begin with a brace."""
    return Line("out" if text.startswith("{") else "err", text)
