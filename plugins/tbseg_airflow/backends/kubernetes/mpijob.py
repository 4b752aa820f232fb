"""A step over many pods: an MPIJob for the operator of Kubeflow, printed as YAML.

    python -m tbseg_airflow.backends.kubernetes.mpijob variable.json --workers 4 merge -- --run=DIR

Airflow does not start it: a person hands it to kubectl. See docs/kubernetes.md.
"""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tbseg_airflow.backends.kubernetes.pod import manifest
from tbseg_airflow.backends.kubernetes.settings import VARIABLE, KubernetesSettings
from tbseg_airflow.backends.variable import parsed
from tbseg_airflow.outcome import StepRefused
from tbseg_ops import pipeline

STEPS = pipeline.mpi()
PORT = 2222
KEYS = "/etc/tbseg-ssh"  # the operator mounts the job's own pair of keys here
SSH = (
    f"-p {PORT} -i {KEYS}/id_rsa -o ConnectionAttempts=30 -o LogLevel=ERROR"
    # The keys are the job's own, made by the operator, and a worker's name is new each time.
    " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
)
# No file of the image is needed, nor root. StrictModes: a mounted Secret belongs to root.
SSHD = (
    *("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", str(PORT)),
    *("-o", f"HostKey={KEYS}/id_rsa", "-o", f"AuthorizedKeysFile={KEYS}/authorized_keys"),
    *("-o", "StrictModes=no", "-o", "PidFile=none", "-o", "LogLevel=ERROR"),
    *("-o", "PasswordAuthentication=no", "-o", "KbdInteractiveAuthentication=no"),
)
LAUNCHER = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}}
# If names of workers are not known at once, or a node is lost: finished work is recognised.
RETRIES = 2


def mpijob(
    settings: KubernetesSettings, arguments: Sequence[str], workers: int, name: str | None = None
) -> dict[str, Any]:
    """The MPIJob that runs ``arguments``, "tbseg STEP ...", in ``workers`` pods.

    Each worker has ``settings.ranks`` ranks, and the step's memory and processors. StepRefused if
    the step is no MPI program, or the pod template cannot be used.
    """
    step = arguments[1]
    if step not in STEPS:
        raise StepRefused(
            "this step is no MPI program",
            expected=f"any of {', '.join(STEPS)}",
            found=step,
            mend="run it in one pod",
        )
    worker = manifest(settings.model_copy(update={"ranks": 1}), step, arguments)
    worker["spec"].pop("restartPolicy", None)  # the operator has its own, per replica
    launcher = copy.deepcopy(worker)
    container = launcher["spec"]["containers"][0]
    inner = [*container["command"], *container["args"]]
    names = ["PATH", *(variable["name"] for variable in container.get("env") or [])]
    ranks = workers * settings.ranks
    container["command"] = ["mpiexec"]
    container["args"] = [
        *("-n", str(ranks), "--bind-to", "none", "--mca", "plm_rsh_args", SSH),
        *(word for one in dict.fromkeys(names) for word in ("-x", one)),  # sshd forgets them
        *inner,
    ]
    container["resources"] = copy.deepcopy(LAUNCHER)

    container = worker["spec"]["containers"][0]
    container["command"], container["args"] = [SSHD[0]], list(SSHD[1:])
    container["ports"] = [{"name": "ssh", "containerPort": PORT}]
    container["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 5}

    metadata = {"name": name or f"tbseg-{step}", "labels": {"app.kubernetes.io/name": "tbseg"}}
    if settings.namespace:
        metadata["namespace"] = settings.namespace
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": metadata,
        "spec": {
            "mpiImplementation": "OpenMPI",
            "slotsPerWorker": settings.ranks,
            "sshAuthMountPath": KEYS,
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": RETRIES},
            "mpiReplicaSpecs": {
                "Launcher": _replica(1, launcher),
                "Worker": _replica(workers, worker),
            },
        },
    }


def _replica(count: int, pod: dict[str, Any]) -> dict[str, Any]:
    given = pod.get("metadata") or {}
    metadata = {key: given[key] for key in ("labels", "annotations") if given.get(key)}
    template = {"metadata": metadata, "spec": pod["spec"]}
    return {"replicas": count, "restartPolicy": "Never", "template": template}


def main(words: Sequence[str] | None = None) -> int:
    """Print the MPIJob; 1 if the settings or the template are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tbseg_airflow.backends.kubernetes.mpijob",
        description="Print an MPIJob that runs one step of tbseg in many pods.",
    )
    parser.add_argument("variable", help="file with the text of the Airflow Variable; - for stdin")
    parser.add_argument("--workers", type=_count, default=2, help="pods that have ranks (2)")
    parser.add_argument("--name", help="of the job (tbseg-STEP)")
    parser.add_argument("step", choices=STEPS)
    parser.epilog = "What comes after -- goes to the step as it is."
    words = list(sys.argv[1:] if words is None else words)
    end = words.index("--") if "--" in words else len(words)
    given = parser.parse_args(words[:end])
    arguments = ["tbseg", given.step, *words[end + 1 :]]
    try:
        text = sys.stdin.read() if given.variable == "-" else Path(given.variable).read_text()
        job = mpijob(
            parsed(VARIABLE, KubernetesSettings, text), arguments, given.workers, given.name
        )
    except (OSError, StepRefused) as error:
        print(error, file=sys.stderr)
        return 1
    yaml.safe_dump(job, sys.stdout, sort_keys=False, width=100)
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
