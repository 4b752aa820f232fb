"""What the API server refuses in a pod: unknown fields, wrong labels, requests above limits."""

import re

from kubernetes.client import models
from kubernetes.utils.quantity import parse_quantity

_LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def unknown(given, kind, where=""):
    """Names in ``given`` that the official schema of ``kind``, such as "V1Pod", does not have."""
    where = where.removeprefix(".")
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(given, list):
            yield f"{where}: not a list"
            return
        for index, one in enumerate(given):
            yield from unknown(one, inner[1], f"{where}[{index}]")
    elif (inner := re.fullmatch(r"dict\([^,]*, *(.*)\)", kind)) and isinstance(given, dict):
        for name, one in given.items():
            yield from unknown(one, inner[1], f"{where}.{name}")
    elif hasattr(models, kind):
        model = getattr(models, kind)
        if not isinstance(given, dict):
            yield f"{where}: not an object"
            return
        types = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
        for name, one in given.items():
            if name not in types:
                yield f"{where}.{name}".removeprefix(".")
            elif one is not None:
                yield from unknown(one, types[name], f"{where}.{name}")
    elif kind == "str" and not isinstance(given, str):
        yield f"{where}: not a string"
    elif kind == "int" and (isinstance(given, bool) or not isinstance(given, int)):
        yield f"{where}: not a whole number"
    elif kind == "bool" and not isinstance(given, bool):
        yield f"{where}: not a boolean"


def invalid(pod):
    """Faults in the values of a pod whose fields are all known."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    name = metadata.get("name", "")
    if len(name) > 253 or not _NAME.fullmatch(name):
        yield f"metadata.name: {name!r}"
    for key, value in (metadata.get("labels") or {}).items():
        if len(value) > 63 or not _LABEL.fullmatch(value):
            yield f"metadata.labels.{key}: {value!r}"
    volumes = {volume["name"] for volume in spec.get("volumes") or []}
    if not spec.get("containers"):
        yield "spec.containers: required"
    for container in spec.get("containers") or []:
        if not container.get("image"):
            yield "spec.containers.image: required"
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in volumes:
                yield f"spec.containers.volumeMounts: no volume {mount['name']}"
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        for what, asked in (resources.get("requests") or {}).items():
            if what in limits and parse_quantity(asked) > parse_quantity(limits[what]):
                yield f"spec.containers.resources.requests: {what} above its limit"
