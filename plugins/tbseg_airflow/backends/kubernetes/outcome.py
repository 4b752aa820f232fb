"""What the end of a pod means: the command's report, another try, or a refusal."""

import contextlib
import json
from typing import Any

from airflow.providers.cncf.kubernetes.utils.container import get_container_status
from airflow.providers.cncf.kubernetes.utils.pod_manager import detect_pod_terminate_early_issues
from kubernetes.client import V1Pod
from kubernetes.client.exceptions import ApiException
from tbseg_airflow.outcome import StepFailed, StepRefused
from tbseg_airflow.transcript import Transcript

# Reasons of a container that never ran, though its image is there.
NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
KILLED = 137
# Answers of the API server that trying again does not change, and what mends them.
REFUSED = {
    400: "correct the pod template",
    401: "correct the credentials of the Airflow connection",
    403: "give the connection's account the role of docs/kubernetes.md",
    404: "correct the namespace in the Airflow Variable tbseg_kubernetes",
    422: "correct the pod template, or the resources in the Airflow Variable tbseg_kubernetes",
}


class OutOfMemory(StepFailed):
    """The pod was killed for want of memory, at ``limit``: the next try gets more."""

    limit: str | None = None


def outcome(
    pod: V1Pod | None, container: str, event: dict[str, Any], transcript: Transcript
) -> dict[str, Any]:
    """The report of the command, or StepFailed or StepRefused.

    ``pod``: as it was last seen; None if it was gone before. ``event``: the trigger's.
    """
    if pod is None:
        raise StepFailed(
            f"the pod {event['name']} is gone\n"
            "  expected: a pod that has ended\n"
            "  found: none: it was deleted by hand, or its node was drained or lost\n"
            "  mend: nothing; finished tiles are kept, and the rest is tried again"
        )
    status = get_container_status(pod, container)
    ended = status.state.terminated if status and status.state else None
    if ended is not None and ended.exit_code == 0:
        return transcript.result(0)
    _raise_if_moved(pod)
    if ended is None:
        raise _never_ran(pod, container, event)
    deleted = pod.metadata.deletion_timestamp is not None
    if ended.reason == "OOMKilled" or (ended.exit_code == KILLED and not deleted):
        raise _out_of_memory(pod, container, ended.reason)
    if ended.reason in NOT_STARTED:
        raise StepRefused(
            "the container could not start its program\n"
            f"  image: {_container(pod, container).image}\n"
            f"  found: {ended.message or ended.reason}\n"
            "  mend: name an image that has tbseg (and mpiexec, for ranks) in the Airflow Variable"
            " tbseg_kubernetes"
        )
    return transcript.result(ended.exit_code)


def from_server(error: ApiException, doing: str) -> StepFailed | StepRefused:
    """The exception for an answer of the API server that is an error."""
    text = _message(error)
    kind: type[StepFailed | StepRefused]
    if "exceeded quota" in text:
        kind, mend = StepFailed, "wait until other pods have ended, or raise the quota"
    elif error.status in REFUSED:
        kind, mend = StepRefused, REFUSED[error.status]
    else:
        kind, mend = StepFailed, "nothing if it was once; a pod that runs goes on"
    return kind(
        f"the Kubernetes API server answered with an error: {doing}\n"
        f"  found: {error.status} {error.reason}: {text}\n"
        f"  mend: {mend}"
    )


def unreachable(error: BaseException, doing: str) -> StepFailed:
    """The exception for a server that does not answer."""
    return StepFailed(
        f"the Kubernetes API server cannot be reached: {doing}\n"
        f"  found: {type(error).__name__}: {error}\n"
        "  mend: nothing if it comes back; a pod that runs goes on, and the next try finds it"
    )


def _message(error: ApiException) -> str:
    """The text of the answer, which is a JSON object as a rule."""
    text = str(error.body or "")
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = json.loads(text)["message"]
    return " ".join(text.split())[:2000]


def _raise_if_moved(pod: V1Pod) -> None:
    """StepFailed if the cluster ended the pod: eviction, preemption, a node that was shut down."""
    disruption = _condition(pod, "DisruptionTarget")
    if pod.status.phase != "Failed" or not (pod.status.reason or disruption):
        return
    reason = pod.status.reason or disruption.reason
    message = pod.status.message or (disruption.message if disruption else "")
    raise StepFailed(
        f"the cluster ended the pod {pod.metadata.name}: {reason}\n"
        f"  node: {pod.spec.node_name}\n"
        f"  found: {message or reason}\n"
        "  mend: nothing if it was once; finished tiles are kept. If nodes run out of memory or"
        " disk,\n  raise the step's memory in the Airflow Variable tbseg_kubernetes, so that"
        " fewer pods share a node"
    )


def _out_of_memory(pod: V1Pod, container: str, reason: str | None) -> OutOfMemory:
    limit = (_container(pod, container).resources.limits or {}).get("memory")
    error = OutOfMemory(
        "the pod was killed for want of memory\n"
        f"  pod: {pod.metadata.name}\n"
        f"  limit: {limit or 'none'}\n"
        f"  found: {reason or 'Error'}, exit code {KILLED}\n"
        "  mend: nothing the first time: the next try gets twice as much. Else raise the step's"
        " memory\n  in the Airflow Variable tbseg_kubernetes, or make the tiles smaller"
    )
    error.limit = limit
    return error


def _never_ran(pod: V1Pod, container: str, event: dict[str, Any]) -> StepFailed | StepRefused:
    main = _container(pod, container)
    if fault := detect_pod_terminate_early_issues(pod):
        return StepRefused(
            "the image of the pod cannot be had\n"
            f"  image: {main.image}\n"
            f"  found: {' '.join(fault.split())}\n"
            "  mend: correct the image in the Airflow Variable tbseg_kubernetes, or give the pod"
            " template\n  imagePullSecrets"
        )
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status != "True":
        requests = main.resources.requests or {}
        asked = ", ".join(f"{name} {value}" for name, value in sorted(requests.items()))
        return StepFailed(
            "no node has room for the pod\n"
            f"  requested: {asked or 'nothing'}\n"
            f"  node selector: {pod.spec.node_selector or 'none'}\n"
            f"  found: {scheduled.message or scheduled.reason}\n"
            "  mend: wait, request less, or correct the node selector, in the Airflow Variable"
            " tbseg_kubernetes"
        )
    status = get_container_status(pod, container)
    waiting = status.state.waiting if status and status.state else None
    found = f"{waiting.reason}: {waiting.message}" if waiting else pod.status.phase
    return StepFailed(
        f"the pod {pod.metadata.name} did not come to an end\n"
        f"  found: {found}\n"
        f"  reported: {event.get('message')}\n"
        "  mend: nothing if it was once; finished tiles are kept, and the rest is tried again"
    )


def _container(pod: V1Pod, name: str) -> Any:
    return next(container for container in pod.spec.containers if container.name == name)


def _condition(pod: V1Pod, kind: str) -> Any:
    return next((found for found in pod.status.conditions or [] if found.type == kind), None)
