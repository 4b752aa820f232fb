"""What the end of a pod means: the command's report, another try, or a refusal."""

import contextlib
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import KubernetesApiException
from airflow.providers.cncf.kubernetes.utils.container import get_container_status
from airflow.providers.cncf.kubernetes.utils.pod_manager import detect_pod_terminate_early_issues
from kubernetes.client import V1Pod
from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity
from urllib3.exceptions import HTTPError

from tbseg_airflow.outcome import StepFailed, StepRefused
from tbseg_airflow.transcript import Transcript

SETTINGS = "Airflow Variable tbseg_kubernetes"
# In the task's own store, which outlives its tries: the limit at which a try ran out of memory.
MEMORY_KEY = "tbseg_out_of_memory"
# Reasons of a container that never ran, though its image is there.
NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
KILLED = 137
UNREAD = (
    "the pod has ended well, but its log cannot be read: the task's result and log have no counts"
)
# What container runtimes say of a registry that cannot be reached now: it is tried again.
AWAY = (
    *("connection refused", "connection reset", "no route to host", "network is unreachable"),
    *("i/o timeout", "tls handshake timeout", "temporary failure in name resolution"),
    *("server misbehaving", "service unavailable", "bad gateway", "gateway timeout"),
)
# Answers of the API server that trying again does not change, and what mends them.
REFUSED = {
    400: "correct the pod template",
    401: "correct the credentials of the Airflow connection",
    403: "give the connection's account the role of docs/kubernetes.md",
    404: f"correct the namespace in the {SETTINGS}",
    422: f"correct the pod template, or the resources in the {SETTINGS}",
}


class PodStuckError(StepFailed):
    """A pod that neither ended nor went on: its container has no end, its phase is not final."""


def outcome(
    pod: V1Pod | None,
    container: str,
    event: dict[str, Any],
    transcript: Transcript,
    store: Any,
    most: Decimal | None,
    unread: bool,
) -> dict[str, Any]:
    """The report of the command, or StepFailed or StepRefused.

    What counts is the end of the container that does the work: the pod's phase may never become
    final, with a container beside it or a node that cannot tear it down.

    ``pod``: as it was last seen; None if it was gone before. ``event``: the trigger's.
    ``store``: Airflow's for this task, if it has one. ``most``: bytes of memory that a pod may get.
    ``unread``: its log cannot be had. The command's exit code says whether the work was done, and
    the run folder has the result; only a report has to do without its counts.
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
        return {"warnings": [UNREAD]} if unread else transcript.result(0)
    _raise_if_moved(pod)
    if ended is None:
        raise _never_ran(pod, _container(pod, container), status, event)
    # By a pod that is deleted, or evicted at this moment, 137 tells nothing of memory.
    settled = pod.metadata.deletion_timestamp is None and pod.status.phase == "Failed"
    if ended.reason == "OOMKilled" or (ended.exit_code == KILLED and settled):
        raise _out_of_memory(pod, _container(pod, container), ended, store, most)
    if ended.reason in NOT_STARTED:
        raise StepRefused(
            "the container could not start its program",
            image=_container(pod, container).image,
            found=ended.message or ended.reason,
            mend=f"name an image that has tbseg (and mpiexec, for ranks) in the {SETTINGS}",
        )
    return transcript.result(ended.exit_code)


def _out_of_memory(
    pod: V1Pod, container: Any, ended: Any, store: Any, most: Decimal | None
) -> StepFailed | StepRefused:
    """Another try with more memory, or a refusal once ``most`` was not enough."""
    limit = (container.resources.limits or {}).get("memory")
    if store is not None and limit is not None:
        store.set(MEMORY_KEY, limit)
    exhausted = limit is not None and most is not None and parse_quantity(limit) >= most
    by_hand = f"raise the step's memory in the {SETTINGS}, or make the tiles smaller"
    return (StepRefused if exhausted else StepFailed)(
        "the pod was killed for want of memory",
        pod=pod.metadata.name,
        limit=limit or "none",
        found=f"{ended.reason or 'Error'}, exit code {KILLED}",
        mend=f"{by_hand}: this was the most that is given without that"
        if exhausted
        else f"nothing if tries are left: the next one gets twice as much. Else {by_hand}",
    )


def registry_away(fault: str, before: bool = True) -> bool:
    """Whether the image is missing because its registry cannot be reached, which may pass.

    ``fault``: reason and message of the container that waits. ``before``: what to think of a
    message without a cause, as kubelets before 1.32 give it while they wait for their next try.
    """
    text = fault.lower()
    if "errimagepull" not in text and "imagepullbackoff" in text:
        return before or any(word in text for word in AWAY)
    return "errimagepull" in text and any(word in text for word in AWAY)


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
    if pod.status.phase == "Succeeded" or not (
        disruption or (pod.status.phase == "Failed" and pod.status.reason)
    ):
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
    fault = detect_pod_terminate_early_issues(pod)
    # A trigger that waited in vain ends by a timeout; one that saw a lasting fault, by an error.
    if fault and not registry_away(fault, event["status"] == "timeout"):
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
    return PodStuckError(
        f"the pod {pod.metadata.name} did not come to an end",
        found=f"{waiting.reason}: {waiting.message}" if waiting else pod.status.phase,
        reported=event.get("message"),
        mend="nothing if it was once; finished tiles are kept, and the rest is tried again",
    )


def _container(pod: V1Pod, name: str) -> Any:
    return next(container for container in pod.spec.containers if container.name == name)


def _condition(pod: V1Pod, kind: str) -> Any:
    return next((found for found in pod.status.conditions or [] if found.type == kind), None)
