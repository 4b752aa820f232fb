"""The MPIJob of a step over many pods: against the operator's schema, and what sshd takes."""

import copy
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.kubernetes.conftest import TEMPLATE
from tests.kubernetes.double import expanded
from tests.kubernetes.strict import invalid, unknown

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports

SCHEMA = json.loads(Path(__file__).with_name("mpijob-v2beta1.json").read_text())
VARIABLE = {
    "image": "registry/tbseg:1",
    "images": {"merge": "registry/tbseg-mpi:1"},
    "namespace": "tbseg",
    "pod_template": str(TEMPLATE),
    "paths": {"/srv/shared": "/data"},
    "memory": {"merge": "16Gi"},
    "ranks": 4,
}
MERGE = ["merge", "--run=/srv/shared/run", "--json"]


@pytest.fixture
def rendered(home, tmp_path, capsys):
    """The manifest as the command line prints it."""
    from tbseg_airflow.backends.kubernetes.mpijob import main

    def render(*words, workers=2, **values):
        path = tmp_path / "variable.json"
        path.write_text(json.dumps(VARIABLE | values))
        step, *options = words or MERGE
        code = main([str(path), f"--workers={workers}", step, "--", *options])
        out, err = capsys.readouterr()
        assert code == 0, err
        return yaml.safe_load(out)

    return render


def faults(job):
    """What the operator's schema, the official one of pods and the operator's own rules refuse."""
    for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(job):
        yield f"{error.json_path}: {error.message}"
    workers = 1
    for kind, replica in job["spec"].get("mpiReplicaSpecs", {}).items():
        template = replica.get("template", {})
        yield from (f"{kind}: {fault}" for fault in unknown(template, "V1PodTemplateSpec"))
        labels = template.get("metadata", {}).get("labels", {})
        pod = {"metadata": {"name": "x", "labels": labels}, "spec": template.get("spec")}
        yield from (f"{kind}: {fault}" for fault in invalid(pod))
        workers = replica.get("replicas", 1)
    host = f"{job['metadata']['name']}-worker-{workers - 1}"
    if len(host) > 63 or not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", host):
        yield f"metadata.name: {host!r} is no name of a host"


def replica(job, kind):
    template = job["spec"]["mpiReplicaSpecs"][kind]["template"]["spec"]
    return template, template["containers"][0]


@pytest.mark.parametrize("step", ["ingest", "split", "classify", "merge"])
@pytest.mark.parametrize("workers", [1, 2, 40])
def test_what_is_rendered_is_valid(rendered, step, workers):
    job = rendered(step, "--run=/srv/shared/run", workers=workers)
    assert list(faults(job)) == []
    assert job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"] == workers
    assert job["spec"]["slotsPerWorker"] == 4
    _, launcher = replica(job, "Launcher")
    assert launcher["command"] == ["mpiexec"]
    assert launcher["args"][:2] == ["-n", str(4 * workers)]


def moved(job, where, old, new):
    for key in where:
        job = job[key]
    job[new] = job.pop(old)


LAUNCHER = ["spec", "mpiReplicaSpecs", "Launcher"]
WORKER = ["spec", "mpiReplicaSpecs", "Worker"]


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        ([], "spec", "specs"),
        (["spec"], "slotsPerWorker", "slotsPerWorkers"),
        (["spec"], "sshAuthMountPath", "sshAuthPath"),
        (["spec"], "mpiReplicaSpecs", "replicaSpecs"),
        (["spec", "runPolicy"], "cleanPodPolicy", "cleanPodsPolicy"),
        (["spec", "mpiReplicaSpecs"], "Launcher", "launcher"),
        (WORKER, "restartPolicy", "restart"),
        (WORKER, "template", "templates"),
        ([*LAUNCHER, "template", "spec"], "nodeSelector", "nodeselector"),
        ([*WORKER, "template", "spec", "containers", 0], "readinessProbe", "readynessProbe"),
    ],
)
def test_a_misspelt_field_is_found(rendered, where, old, new):
    job = rendered()
    if old == "spec":
        changed = {new if key == old else key: value for key, value in job.items()}
        assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(changed))
        return
    moved(job, where, old, new)
    assert list(faults(job))


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ([], "apiVersion", "kubeflow.org/v1"),
        (["spec"], "mpiImplementation", "OpenMpi"),
        (["spec"], "slotsPerWorker", "4"),
        (["spec"], "launcherCreationPolicy", "Wait"),
        (["spec", "runPolicy"], "cleanPodPolicy", "Never"),
        (["spec", "runPolicy"], "backoffLimit", -1),
        (LAUNCHER, "replicas", 2),
        (WORKER, "replicas", 0),
        (WORKER, "restartPolicy", "Sometimes"),
        (["metadata"], "name", "a" * 60),
    ],
)
def test_a_wrong_value_is_found(rendered, where, key, value):
    job = here = rendered()
    for name in where:
        here = here[name]
    here[key] = value
    assert list(faults(job))


def test_arguments_arrive_as_they_are(rendered):
    hard = ["--run=/srv/shared/a b'\"; $(HOME) $$ ü", "--tiles=--x", "-x", "--", "*"]
    _, launcher = replica(rendered("merge", *hard), "Launcher")
    given = [expanded(word, {"HOME": "/tmp"}) for word in launcher["args"]]
    at = given.index("tbseg")
    assert given[at:] == ["tbseg", "merge", "--run=/data/a b'\"; $(HOME) $$ ü", *hard[1:]]


def test_the_ranks_get_the_variables_of_the_template(rendered):
    """A session of sshd knows nothing of the container's environment."""
    _, launcher = replica(rendered(), "Launcher")
    args = launcher["args"]
    handed = {args[index + 1] for index, word in enumerate(args) if word == "-x"}
    assert handed == {"PATH", *(variable["name"] for variable in launcher["env"])}
    assert {"name": "TBSEG_PATHS", "value": "/srv/shared=/data"} in launcher["env"]


def test_who_it_runs_as(rendered, tmp_path):
    template = yaml.safe_load(TEMPLATE.read_text())
    template["spec"]["automountServiceAccountToken"] = True
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(template))
    job = rendered(pod_template=str(path))
    for kind in ("Launcher", "Worker"):
        pod, container = replica(job, kind)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "restartPolicy" not in pod  # the operator warns of it
    assert not job["spec"]["sshAuthMountPath"].startswith("/root")
    assert int(container["args"][container["args"].index("-p") + 1]) > 1023


def test_image_memory_and_nodes_are_those_of_the_settings(rendered):
    job = rendered(node_selector={"disk": "fast"})
    for kind, memory in (("Launcher", "256Mi"), ("Worker", "16Gi")):
        pod, container = replica(job, kind)
        assert container["image"] == "registry/tbseg-mpi:1"
        assert container["resources"]["limits"]["memory"] == memory
        assert pod["nodeSelector"]["disk"] == "fast"
    assert job["metadata"]["namespace"] == "tbseg"


def test_nothing_is_shared_between_the_replicas(home):
    """A change to one pod of the result must not change the other."""
    from tbseg_airflow.backends.kubernetes.mpijob import mpijob
    from tbseg_airflow.backends.kubernetes.settings import KubernetesSettings

    job = mpijob(KubernetesSettings(**VARIABLE), ["tbseg", *MERGE], 2)
    kept = copy.deepcopy(replica(job, "Worker"))
    replica(job, "Launcher")[1]["env"].append({"name": "X", "value": "1"})
    assert replica(job, "Worker") == kept


@pytest.mark.parametrize(
    ("values", "found"),
    [({"rank": 2}, "rank: Extra inputs"), ({"pod_template": "/no/such"}, "FileNotFoundError")],
)
def test_wrong_settings_are_told(home, tmp_path, capsys, values, found):
    from tbseg_airflow.backends.kubernetes.mpijob import main

    path = tmp_path / "variable.json"
    path.write_text(json.dumps(VARIABLE | values))
    assert main([str(path), *MERGE[:1]]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert found in err


@pytest.mark.parametrize(
    ("words", "found"),
    [(["verify"], "invalid choice"), (["--workers=0", "merge"], "at least 1")],
)
def test_a_wrong_command_line(home, capsys, words, found):
    from tbseg_airflow.backends.kubernetes.mpijob import main

    with pytest.raises(SystemExit) as caught:
        main(["-", *words])
    assert caught.value.code == 2
    assert found in capsys.readouterr().err


def test_a_step_without_mpi_is_refused(home):
    from tbseg_airflow.backends.kubernetes.mpijob import mpijob
    from tbseg_airflow.backends.kubernetes.settings import KubernetesSettings
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(StepRefused, match="found: publish"):
        mpijob(KubernetesSettings(**VARIABLE), ["tbseg", "publish"], 2)


@pytest.fixture
def everybodys():
    """A folder that any user may read; those of pytest belong to its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(
    not Path("/usr/sbin/sshd").exists() or shutil.which("ssh") is None,
    reason="sshd is missing: apt-get install openssh-server",
)
def test_ssh_and_sshd_know_the_options(rendered, everybodys):
    """Also without root: as a user who owns nothing but the key."""
    job = rendered()
    folder = job["spec"]["sshAuthMountPath"]
    key = everybodys / "id_rsa"  # the operator's kind of key
    generate = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "521", "-m", "PEM", "-N", "", "-f", key]
    subprocess.run(generate, check=True)
    user = {}
    if os.getuid() == 0:
        user = {"user": 1000, "group": 1000, "extra_groups": []}
        key.chmod(0o644)  # as a Secret's: it belongs to root
    _, worker = replica(job, "Worker")
    words = [word.replace(folder, str(everybodys)) for word in worker["command"] + worker["args"]]
    done = subprocess.run([*words, "-t"], capture_output=True, text=True, **user)
    assert (done.returncode, done.stderr) == (0, "")
    _, launcher = replica(job, "Launcher")
    options = launcher["args"][launcher["args"].index("plm_rsh_args") + 1]
    options = options.replace(folder, str(everybodys)).split()
    done = subprocess.run(["ssh", *options, "-G", "host"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"port {words[words.index('-p') + 1]}\n" in done.stdout
    assert f"identityfile {key}\n" in done.stdout
