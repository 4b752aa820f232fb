"""docker/helm-values.yaml as the official chart takes it; where helm and the chart are at hand.

AIRFLOW_CHART names the chart, a folder or a .tgz: ``helm pull apache-airflow/airflow``.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"

pytestmark = [
    pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed"),
    pytest.mark.skipif("AIRFLOW_CHART" not in os.environ, reason="AIRFLOW_CHART names no chart"),
]


def helm(*arguments):
    chart = os.environ.get("AIRFLOW_CHART", "")
    values = ["--namespace", "airflow", "--values", str(DOCKER / "helm-values.yaml")]
    command = ["helm", arguments[0], "airflow", chart, *values, *arguments[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def rendered():
    """All objects, by kind and name; helm refuses values that the chart's schema does not know."""
    objects = filter(None, yaml.safe_load_all(helm("template")))
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def pod(rendered, component):
    return rendered["Deployment", f"airflow-{component}"]["spec"]["template"]["spec"]


def test_who_makes_and_awaits_pods_has_the_accounts_that_are_bound(rendered):
    applied = yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text())
    (binding,) = (one for one in applied if one["kind"] == "RoleBinding")
    bound = {one["name"] for one in binding["subjects"] if one["namespace"] == "airflow"}
    assert bound == {pod(rendered, part)["serviceAccountName"] for part in ("worker", "triggerer")}
    own = rendered["RoleBinding", "airflow-pod-launcher-rolebinding"]["subjects"]
    assert {one["name"] for one in own} == bound


def test_all_of_airflow_is_one_user_with_the_data_and_the_connection(rendered):
    for part in ("api-server", "dag-processor", "scheduler", "triggerer", "worker"):
        spec = pod(rendered, part)
        assert spec["securityContext"]["runAsUser"] == 1000
        main = spec["containers"][0]
        assert "/data" in {mount["mountPath"] for mount in main["volumeMounts"]}
        assert "AIRFLOW_CONN_KUBERNETES_DEFAULT" in {one["name"] for one in main["env"]}


def test_workers_have_their_resources_and_nothing_of_ours_is_deprecated(rendered):
    resources = pod(rendered, "worker")["containers"][0]["resources"]
    given = yaml.safe_load((DOCKER / "helm-values.yaml").read_text())
    assert resources == given["workers"]["celery"]["resources"]
    notes = helm("install", "--dry-run=client")
    for name in (
        "workers.resources",
        "workers.persistence",
        "workers.replicas",
        "securityContext`",
    ):
        assert f"`{name}" not in notes
