"""What the end of a pod means: the command's report, another try, or a refusal."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import KubernetesApiException
from airflow.providers.cncf.kubernetes.utils.container import get_container_status
from airflow.providers.cncf.kubernetes.utils.pod_manager import detect_pod_terminate_early_issues
from kubernetes.client import V1Pod
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tbseg_airflow.outcome import StepFailed, StepRefused
from tbseg_airflow.transcript import Transcript

SETTINGS = "Airflow Variable tbseg_kubernetes"
# In the task's own store, which outlives its tries: the limit at which a try ran out of memory.
MEMORY_KEY = "tbseg_out_of_memory"
# Reasons of a container that never ran, though its image is there.
NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
KILLED = 137
# Answers of the API server that trying again does not change, and what mends them.
REFUSED = {
    400: "correct the pod template",
    401: "correct the credentials of the Airflow connection",
    403: "give the connection's account the role of docs/kubernetes.md",
    404: f"correct the namespace in the {SETTINGS}",
    422: f"correct the pod template, or the resources in the {SETTINGS}",
}


def outcome(
    pod: V1Pod | None, container: str, event: dict[str, Any], transcript: Transcript, store: Any
) -> dict[str, Any]:
    """The report of the command, or StepFailed or StepRefused.

    ``pod``: as it was last seen; None if it was gone before. ``event``: the trigger's.
    ``store``: Airflow's for this task, if it has one.
    """
    if pod is None:
        raise StepFailed(
            f"the pod {event['name']} is gone",
            expected="a pod that has ended",
            found="none: it was deleted by hand, or its node was drained or lost",
            mend="nothing; finished tiles are kept, and the rest is tried again",
        )
    status = get_container_status(pod, container)
    ended = status.state.terminated if status and status.state else None
    if ended is not None and ended.exit_code == 0:
        return transcript.result(0)
    _raise_if_moved(pod)
    if ended is None:
        raise _never_ran(pod, _container(pod, container), status, event)
    deleted = pod.metadata.deletion_timestamp is not None
    if ended.reason == "OOMKilled" or (ended.exit_code == KILLED and not deleted):
        limit = (_container(pod, container).resources.limits or {}).get("memory")
        if store is not None and limit is not None:
            store.set(MEMORY_KEY, limit)
        raise StepFailed(
            "the pod was killed for want of memory",
            pod=pod.metadata.name,
            limit=limit or "none",
            found=f"{ended.reason or 'Error'}, exit code {KILLED}",
            mend="nothing the first time: the next try gets twice as much. Else raise the step's"
            f" memory in the {SETTINGS}, or make the tiles smaller",
        )
    if ended.reason in NOT_STARTED:
        raise StepRefused(
            "the container could not start its program",
            image=_container(pod, container).image,
            found=ended.message or ended.reason,
            mend=f"name an image that has tbseg (and mpiexec, for ranks) in the {SETTINGS}",
        )
    return transcript.result(ended.exit_code)


@contextlib.contextmanager
def server_asked(doing: str) -> Iterator[None]:
    """StepFailed or StepRefused if the API server does not answer, or with an error."""
    try:
        yield
    except ApiException as error:
        raise from_server(error, doing) from None
    except (HTTPError, KubernetesApiException) as error:
        raise StepFailed(
            f"the Kubernetes API server cannot be reached: {doing}",
            found=f"{type(error).__name__}: {error}",
            mend="nothing if it comes back; a pod that runs goes on, and the next try finds it",
        ) from None


def from_server(error: ApiException, doing: str) -> StepFailed | StepRefused:
    """The exception for an answer of the API server that is an error."""
    text = str(error.body or "")
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = json.loads(text)["message"]
    text = " ".join(text.split())[:2000]
    kind: type[StepFailed | StepRefused]
    if "exceeded quota" in text:
        kind, mend = StepFailed, "wait until other pods have ended, or raise the quota"
    elif error.status in REFUSED:
        kind, mend = StepRefused, REFUSED[error.status]
    else:
        kind, mend = StepFailed, "nothing if it was once; a pod that runs goes on"
    return kind(
        f"the Kubernetes API server answered with an error: {doing}",
        found=f"{error.status} {error.reason}: {text}",
        mend=mend,
    )


def _raise_if_moved(pod: V1Pod) -> None:
    """StepFailed if the cluster ended the pod: eviction, preemption, a node that was shut down."""
    disruption = _condition(pod, "DisruptionTarget")
    if pod.status.phase != "Failed" or not (pod.status.reason or disruption):
        return
    reason = pod.status.reason or disruption.reason
    raise StepFailed(
        f"the cluster ended the pod {pod.metadata.name}: {reason}",
        node=pod.spec.node_name,
        found=pod.status.message or (disruption.message if disruption else "") or reason,
        mend="nothing if it was once; finished tiles are kept. If nodes run out of memory or disk,"
        f" raise the step's memory in the {SETTINGS}, so that fewer pods share a node",
    )


def _never_ran(
    pod: V1Pod, container: Any, status: Any, event: dict[str, Any]
) -> StepFailed | StepRefused:
    if fault := detect_pod_terminate_early_issues(pod):
        return StepRefused(
            "the image of the pod cannot be had",
            image=container.image,
            found=" ".join(fault.split()),
            mend=f"correct the image in the {SETTINGS}, or give the pod template imagePullSecrets",
        )
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status != "True":
        requests = container.resources.requests or {}
        asked = ", ".join(f"{name} {value}" for name, value in sorted(requests.items()))
        return StepFailed(
            "no node has room for the pod",
            requested=asked or "nothing",
            node_selector=pod.spec.node_selector or "none",
            found=scheduled.message or scheduled.reason,
            mend=f"wait, request less, or correct the node selector, in the {SETTINGS}",
        )
    waiting = status.state.waiting if status and status.state else None
    return StepFailed(
        f"the pod {pod.metadata.name} did not come to an end",
        found=f"{waiting.reason}: {waiting.message}" if waiting else pod.status.phase,
        reported=event.get("message"),
        mend="nothing if it was once; finished tiles are kept, and the rest is tried again",
    )


def _container(pod: V1Pod, name: str) -> Any:
    return next(container for container in pod.spec.containers if container.name == name)


def _condition(pod: V1Pod, kind: str) -> Any:
    return next((found for found in pod.status.conditions or [] if found.type == kind), None)
