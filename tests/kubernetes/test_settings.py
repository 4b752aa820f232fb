"""The Variable and the pod template: what is taken, and what is refused by name."""

import json
import os

import pytest
import yaml

from tests.kubernetes.conftest import TEMPLATE
from tests.kubernetes.strict import invalid, unknown

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


def refused(task):
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(StepRefused) as caught:
        task().start()
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"imgae": "x"}, "imgae: Extra inputs are not permitted"),
        ({"image": None}, "image: Field required"),
        ({"image": ""}, "image: String should have at least 1 character"),
        ({"memory": {"clasify": "1Gi"}}, "memory.clasify"),
        ({"memory": {"classify": "much"}}, "memory.classify"),
        ({"memory": {"classify": "-1Gi"}}, "memory.classify"),
        ({"cpu": {"merge": "2; rm"}}, "cpu.merge"),
        ({"paths": {"data": "/mnt"}}, "paths.data"),
        ({"paths": {"/data:x": "/mnt"}}, "paths./data:x"),
        ({"paths": {"/data": "/mnt=x"}}, "paths./data"),
        ({"paths": {"/data/": "/mnt"}}, "paths./data/"),
        ({"ranks": 0}, "ranks: Input should be greater than 0"),
        ({"node_selector": "gpu"}, "node_selector: Input should be an object"),
    ],
)
def test_settings_that_are_refused(task, cluster, variable, values, found):
    variable(**values)
    text = refused(task)
    assert text.startswith("the Airflow Variable tbseg_kubernetes is wrong")
    assert f"found: {found}" in text
    assert cluster.made == []


def test_a_value_is_never_repeated(task, variable):
    variable(token="secret-of-mine")
    assert "secret-of-mine" not in refused(task)


def test_no_settings(task, monkeypatch):
    from tbseg_airflow.backends.kubernetes import settings as kubernetes_settings

    monkeypatch.delitem(os.environ, "AIRFLOW_VAR_TBSEG_KUBERNETES")
    monkeypatch.setattr(kubernetes_settings.Variable, "get", lambda name, default: default)
    assert "mend: set it to a JSON object such as" in refused(task)


def test_no_json(task, monkeypatch):
    monkeypatch.setitem(os.environ, "AIRFLOW_VAR_TBSEG_KUBERNETES", "image: x")
    assert "found: Invalid JSON" in refused(task)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--run=/data/brain/run", "--run=/mnt/brain/run"),
        ("--run=/data", "--run=/mnt"),
        ("--run=/data7/run", "--run=/data7/run"),
        ("--run=/data/scratch/run", "--run=/fast/run"),
        ("--run=/elsewhere/data/run", "--run=/elsewhere/data/run"),
        ("/data/a=b", "/mnt/a=b"),
        ("--run=/data/a=/data/b", "--run=/mnt/a=/data/b"),
        ("--json", "--json"),
        ("--tiles=z000_y000_x000", "--tiles=z000_y000_x000"),
    ],
)
def test_paths(argument, expected):
    from tbseg_airflow.backends.kubernetes.pod import in_pod

    assert in_pod(argument, {"/data": "/mnt", "/data/scratch": "/fast"}) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("4Gi", "8Gi"), ("1.5Gi", "3Gi"), ("500M", "1000M"), ("1073741824", "2147483648")],
)
def test_memory_is_doubled(given, expected, home):
    from tbseg_airflow.backends.kubernetes.pod import _times

    assert _times(given, 2) == expected


def sent(step="classify", **values):
    """The pod as it is sent, but for name, labels and namespace."""
    from tbseg_airflow.backends.kubernetes.pod import manifest
    from tbseg_airflow.backends.kubernetes.settings import KubernetesSettings

    values = {"image": "i", "pod_template": str(TEMPLATE), "paths": {"/a": "/b"}} | values
    settings = KubernetesSettings.model_validate_json(json.dumps(values))
    return manifest(settings, step, ["tbseg", step, "--run=/a/run"])


@pytest.mark.parametrize("pod", [yaml.safe_load(TEMPLATE.read_text()), sent, lambda: sent("merge")])
def test_pods_are_those_of_the_official_schema(pod, home):
    from tbseg_airflow.backends.kubernetes.pod import as_pod, dropped

    pod = pod() if callable(pod) else pod
    pod["metadata"]["name"] = "x"
    assert list(unknown(pod, "V1Pod")) == []
    assert list(invalid(pod)) == []
    assert list(dropped(pod, as_pod(pod))) == []


def test_a_token_is_never_mounted(task, cluster, variable, tmp_path):
    """Whatever the template says: a command has nothing to say to the cluster."""
    pod = yaml.safe_load(TEMPLATE.read_text())
    pod["spec"]["automountServiceAccountToken"] = True
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(pod))
    variable(pod_template=str(path))
    task().start()
    assert cluster.made[0].spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("spec: {containers: [{name: base, imagee: x}]}", "does not have: spec.containers[0].imag"),
        ("spec: {containers: [], nodeselector: {}}", "pod does not have: spec.nodeselector"),
        ("spec: {}", "found: ValueError"),
        ("spec: {containers: []}", "no container"),
        ("kind: Pod", "no container"),
        ("[]", "found: "),
        ("just text", "found: "),
        ("", "found: "),
        ("{", "ParserError"),
        (None, "FileNotFoundError"),
    ],
)
def test_templates_that_are_refused(task, cluster, variable, tmp_path, text, found):
    path = tmp_path / "template.yaml"
    if text is not None:
        path.write_text(text)
    variable(pod_template=str(path))
    message = refused(task)
    assert message.startswith(f"the pod template cannot be used\n  file: {path}\n")
    assert found in message
    assert cluster.made == []


def test_what_the_server_refuses(task, cluster, variable, tmp_path):
    """Requests above limits: the schema allows it, the server does not."""
    pod = yaml.safe_load(TEMPLATE.read_text())
    pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = "8Gi"
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(pod))
    variable(pod_template=str(path))
    assert "422 Unprocessable Entity: " in refused(task)


@pytest.mark.parametrize(
    ("status", "message", "again", "mend"),
    [
        (403, "pods is forbidden: cannot create", False, "the role of docs/kubernetes.md"),
        (403, "pods is forbidden: exceeded quota: q", True, "raise the quota"),
        (404, 'namespaces "x" not found', False, "correct the namespace"),
        (401, "Unauthorized", False, "correct the credentials"),
        (500, "boom", True, "a pod that runs goes on"),
    ],
)
def test_answers_of_the_server(home, status, message, again, mend):
    from kubernetes.client.exceptions import ApiException
    from tbseg_airflow.backends.kubernetes.outcome import from_server
    from tbseg_airflow.outcome import StepFailed

    error = ApiException(status, "Reason")
    error.body = json.dumps({"message": message})
    made = from_server(error, "to make the pod")
    assert isinstance(made, StepFailed) is again
    assert f"found: {status} Reason: {message}\n" in str(made)
    assert mend in str(made)


def test_a_connection_that_cannot_be_used(task, variable, monkeypatch):
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": "/no/such/file"}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    assert "the connection to Kubernetes cannot be used" in refused(task)


def test_the_double_refuses_what_a_server_refuses(home):
    pod = {"metadata": {"name": "A_b", "labels": {"a": "-x"}}, "spec": {"containers": [{}]}}
    assert len(list(invalid(pod))) == 3
    image = {"image": 7, "env": [{"nam": "x"}], "volumeMounts": {}}
    wrong = {"spec": {"container": [], "containers": [image]}, "kind": "Pod"}
    assert set(unknown(wrong, "V1Pod")) == {
        "spec.container",
        "spec.containers[0].image: not a string",
        "spec.containers[0].env[0].nam",
        "spec.containers[0].volumeMounts: not a list",
    }
