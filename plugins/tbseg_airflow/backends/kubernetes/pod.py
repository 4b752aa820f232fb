"""The pod of one command: the pod template with image, arguments, paths and resources filled in."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient, Configuration, V1Pod
from kubernetes.utils.quantity import parse_quantity

from tbseg_airflow.backends.kubernetes.settings import TEMPLATE, KubernetesSettings
from tbseg_airflow.outcome import StepRefused

LABEL = "tbseg-task-instance"  # the id of the try that made the pod
RAISE = 2  # times the memory, each time that it ran out
MOST = 4  # times what the settings say: no more is given without a person


def manifest(
    settings: KubernetesSettings,
    step: str,
    arguments: Sequence[str],
    too_little: str | None = None,
    instance: str | None = None,
) -> dict[str, Any]:
    """The pod that runs ``arguments``, without a name; for the try ``instance`` of a task, if any.

    ``too_little``: the memory with which an earlier try ran out of it. Unless the settings give
    more by now, the pod gets twice that, and at most ``MOST`` times what they say.
    """
    pod: dict[str, Any] = template(Path(settings.pod_template))
    if instance is not None:
        metadata = pod["metadata"] = pod.get("metadata") or {}
        metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: instance}
    spec = pod["spec"]
    spec["automountServiceAccountToken"] = False
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **settings.node_selector}
    container = spec["containers"][0]
    program, *rest = command(settings, step, arguments)
    container["image"] = settings.images.get(step, settings.image)
    container["command"], container["args"] = [program], rest
    if settings.paths:
        joined = ":".join(f"{outer}={inner}" for outer, inner in settings.paths.items())
        variable = {"name": "TBSEG_PATHS", "value": literal(joined)}
        container["env"] = [*(container.get("env") or []), variable]
    container["resources"] = _resources(
        settings, step, container.get("resources") or {}, too_little
    )
    return pod


def command(settings: KubernetesSettings, step: str, arguments: Sequence[str]) -> list[str]:
    """The arguments for the pod: with its paths, under MPI if asked for, safe from expansion."""
    inner = [literal(in_pod(argument, settings.paths)) for argument in arguments]
    if step == "merge" and settings.ranks > 1:
        # Open MPI would give each rank one core, and the first rank of each pod the same one.
        return ["mpiexec", "--bind-to", "none", "-n", str(settings.ranks), *inner]
    return inner


def in_pod(argument: str, paths: dict[str, str]) -> str:
    """An argument, ``PATH`` or ``--option=PATH``, with the path that the pod sees."""
    option, equals, value = "", "", argument
    if argument.startswith("--"):
        option, equals, value = argument.partition("=")
    for outer in sorted(paths, key=len, reverse=True):
        if value == outer or value.startswith(f"{outer}/"):
            return option + equals + paths[outer] + value[len(outer) :]
    return argument


def literal(text: str) -> str:
    """Kubernetes replaces $(NAME) in commands and variables, and takes $$ for one $."""
    return text.replace("$", "$$")


def template(path: Path) -> Any:
    """The pod template; StepRefused if it is missing, no pod, or has fields that no pod has."""
    try:
        pod = yaml.safe_load(path.read_text())
        if not isinstance(pod, dict):
            raise ValueError("not an object")
        kept = as_pod(pod)
        unknown = sorted(dropped(pod, kept))
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise _wrong_template(path, f"{type(error).__name__}: {error}") from None
    if unknown:
        raise _wrong_template(path, f"fields that a pod does not have: {', '.join(unknown)}")
    if not (pod.get("spec") or {}).get("containers"):
        raise _wrong_template(path, "no container")
    return pod


def as_pod(pod: dict[str, Any]) -> dict[str, Any]:
    """What of ``pod`` the Kubernetes client knows; ValueError if something required is missing."""
    client = ApiClient(configuration=Configuration())
    made = client._ApiClient__deserialize(pod, V1Pod)  # there is no public way
    kept: dict[str, Any] = client.sanitize_for_serialization(made)
    return kept


def dropped(given: Any, kept: Any, where: str = "") -> Iterator[str]:
    """The fields of ``given`` that are not in ``kept``, such as "spec.container"."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            here = f"{where}.{name}".lstrip(".")
            if name in kept:
                yield from dropped(value, kept[name], here)
            elif value is not None:
                yield here
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from dropped(one, other, f"{where}[{index}]")


def _resources(
    settings: KubernetesSettings, step: str, given: dict[str, Any], too_little: str | None
) -> dict[str, Any]:
    """Memory is requested and limited, processors are requested: they can be shared."""
    requests, limits = dict(given.get("requests") or {}), dict(given.get("limits") or {})
    if memory := settings.memory.get(step):
        requests["memory"] = limits["memory"] = memory
    if cpu := settings.cpu.get(step):
        requests["cpu"] = cpu
        limits.pop("cpu", None)
    factor = _factor(limits.get("memory"), too_little)
    for kind in (requests, limits) if factor > 1 else ():
        if "memory" in kind:
            kind["memory"] = _times(str(kind["memory"]), factor)
    return {**given, "requests": requests, "limits": limits}


def _factor(limit: str | None, too_little: str | None) -> int:
    """1, or the first power of ``RAISE`` that gives more than ``too_little``, if there is one."""
    factor = 1
    if limit and too_little:
        while factor < MOST and parse_quantity(limit) * factor <= parse_quantity(too_little):
            factor *= RAISE
    return factor


def most_memory(settings: KubernetesSettings, step: str) -> Decimal | None:
    """Bytes beyond which a pod of this step gets none by itself; None if it has no limit."""
    given = template(Path(settings.pod_template))["spec"]["containers"][0].get("resources") or {}
    limit = _resources(settings, step, given, None)["limits"].get("memory")
    return parse_quantity(limit) * MOST if limit else None


def _times(quantity: str, factor: int) -> str:
    number, unit = re.fullmatch(r"([0-9.]+)(.*)", quantity).groups()  # type: ignore[union-attr]
    return f"{(Decimal(number) * factor).normalize():f}{unit}"


def _wrong_template(path: Path, found: str) -> StepRefused:
    return StepRefused(
        "the pod template cannot be used",
        file=path,
        expected=f"a pod, as in {TEMPLATE}",
        found=found,
        mend="correct it, or name another one in the Airflow Variable tbseg_kubernetes",
    )
