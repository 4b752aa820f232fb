"""Whether pods may write where Airflow makes a run folder: asked before anything else is done."""

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any
from uuid import uuid4

from tbseg_airflow.backends.kubernetes.pod import template
from tbseg_airflow.backends.kubernetes.settings import KubernetesSettings
from tbseg_airflow.outcome import StepRefused

# Lists of more than an owner and a group, of which a mode says only a part.
_LISTS = frozenset({"system.posix_acl_access", "system.nfs4_acl", "system.richacl"})


def check_owner(run: Path, settings: KubernetesSettings, log: Any) -> None:
    """StepRefused if the pods' user and groups, as in the template, may not write to ``run``.

    ``run``: a run folder of this user, or one that will be made. Nothing is said where it cannot be
    told: of a user that only the image knows, and of owners that a file server makes up. Where a
    list of access may allow it nevertheless, a warning is logged. ``doctor``'s pod tries it.
    """
    user, groups = _of_pods(template(Path(settings.pod_template)))
    found = _found(run)
    if user is None or found is None:
        return
    made, listed = found
    if made.st_uid != os.geteuid() or may_write(made, user, groups):
        return
    refused = StepRefused(
        "pods may not write to the run folder that Airflow makes",
        folder=run,
        expected=f"one that user {user} of groups {sorted(groups)} may write to, as in the pod"
        " template",
        found=f"user {made.st_uid}, group {made.st_gid}, mode {stat.S_IMODE(made.st_mode):04o}",
        mend="let both be one user (runAsUser in the pod template); or give pods Airflow's group"
        " (fsGroup, supplementalGroups) and let Airflow make folders that it may write to (umask"
        " 002; those that are there: chmod -R g+rwXs). See docs/kubernetes.md",
    )
    if not listed:
        raise refused
    log.warning("%s", refused)


def may_write(made: os.stat_result, user: int, groups: Collection[int]) -> bool:
    """By the mode alone, whether such a user may make files in a folder."""
    if user == 0:
        return True
    if made.st_uid == user:
        return made.st_mode & 0o300 == 0o300
    needed = 0o030 if made.st_gid in groups else 0o003
    return made.st_mode & needed == needed


def _of_pods(pod: dict[str, Any]) -> tuple[int | None, set[int]]:
    """User and groups of a pod's first container; None if the image says which."""
    spec = pod["spec"]
    of_pod = spec.get("securityContext") or {}
    own = {**of_pod, **(spec["containers"][0].get("securityContext") or {})}
    user, group = own.get("runAsUser"), own.get("runAsGroup")
    if user is None or group is None:
        return None, set()
    more = {of_pod["fsGroup"]} if of_pod.get("fsGroup") is not None else set()
    return user, {group, *more, *(of_pod.get("supplementalGroups") or [])}


def _found(run: Path) -> tuple[os.stat_result, bool] | None:
    """Of the run folder, or of one made where it will be; whether there is a list of access."""
    if run.is_dir():
        return _state(run)
    above = next((folder for folder in run.parents if folder.is_dir()), run)
    probe = above / f".tbseg-{uuid4().hex}"
    try:
        probe.mkdir()
    except OSError:  # plan will say so
        return None
    try:
        return _state(probe)
    finally:
        probe.rmdir()


def _state(folder: Path) -> tuple[os.stat_result, bool]:
    try:
        names = os.listxattr(folder)
    except OSError:
        names = []
    return folder.stat(), not _LISTS.isdisjoint(names)
