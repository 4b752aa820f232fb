"""The files of docker/: rules for each, and that they agree with each other and the project."""

import configparser
import fnmatch
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from tbseg_ops import __version__
from tests.docker.dockerfile import base, commands, copied, instructions

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
LOCKS = sorted(DOCKER.glob("*.lock"))
KNOWN = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "CMD"}
INSTALLS = re.compile(r"(?:\bpip install|\$pip)\s(.*)")
each_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
each_lock = pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)


def pins(path):
    """Name to pinned versions (several, if markers tell them apart)."""
    found = {}
    for name, pin in re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", path.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(pin)
    return found


def test_the_images():
    assert [path.stem for path in DOCKERFILES] == ["airflow", "ilastik", "mpi"]


@each_dockerfile
def test_only_instructions_that_these_tests_know(path):
    found = instructions(path)
    assert found[0].name == "FROM"
    assert {i.name for i in found} <= KNOWN  # ADD, which can fetch URLs, is not among them


@each_dockerfile
def test_bases_are_pinned(path):
    stages = set()
    for instruction in instructions(path):
        if instruction.name == "FROM":
            image, stage = base(instruction)
            name, _, tag = image.rpartition(":")
            assert image in stages or (name and tag and "latest" not in tag), image
            # A short name resolves with docker only: podman and buildah on Debian refuse it.
            assert image in stages or "." in image.partition("/")[0], image
            stages.add(stage)


@each_dockerfile
def test_the_last_user_is_not_root(path):
    found = instructions(path)
    last_stage = max(i.line for i in found if i.name == "FROM")
    users = [i.value for i in found if i.name == "USER" and i.line > last_stage]
    user, _, group = users[-1].partition(":")
    # A number: Kubernetes cannot tell whether a name is root.
    assert user.isdigit()
    assert int(user) >= 1000
    assert group.isdigit()


@each_dockerfile
def test_what_is_copied_exists_and_is_in_the_context(path):
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for instruction in instructions(path):
        for name in copied(instruction) if instruction.name == "COPY" else []:
            assert (ROOT / name).exists(), name
            assert any(
                fnmatch.fnmatch(name, pattern) or pattern.startswith(f"{name}/")
                for pattern in allowed
            ), f"{name} is not in .dockerignore"


@each_dockerfile
def test_what_is_installed_is_hashed_or_ours(path):
    text = " && ".join(i.value for i in instructions(path) if i.name == "RUN")
    variable = re.search(r'pip="(.+?)"', text)
    seen = 0
    for command in text.split("&&"):
        if "pip=" in command or not (match := INSTALLS.search(command)):
            continue
        options = match[1] + (variable[1] if variable and "$pip" in command else "")
        words = options.split()
        seen += 1
        assert "--no-deps" in words, command
        ours = words[-1] in (".", "/opt/tbseg/source") and "--no-build-isolation" in words
        assert ours or ("--require-hashes" in words and "-r" in words), command
    assert seen >= 2


@pytest.mark.parametrize("name", ["airflow", "mpi"])
def test_the_kernels_are_compiled_in_the_image(name):
    """By the installed package, not by its sources where they lie: there they would stay."""
    (compiles,) = [
        run
        for instruction in instructions(DOCKER / f"{name}.Dockerfile")
        if instruction.name == "RUN" and "engines.native.ahead" in (run := instruction.value)
    ]
    before, _, _ = compiles.partition("engines.native.ahead")
    assert "pip install --no-deps --no-build-isolation" in before
    assert "cd /" in before or "source" in before


@each_dockerfile
def test_nothing_is_downloaded_by_address(path):
    for instruction in instructions(path):
        assert "://" not in instruction.value
        for command in commands(instruction) if instruction.name == "RUN" else []:
            assert not re.match(r"(curl|wget|git)\b", command), command


@each_dockerfile
def test_apt_leaves_nothing_behind(path):
    for instruction in instructions(path):
        if instruction.name == "RUN" and "apt-get install" in instruction.value:
            assert "--no-install-recommends" in instruction.value
            assert "rm -rf /var/lib/apt/lists/*" in instruction.value
            if "openssh-server" in instruction.value:  # its package makes keys
                assert "/etc/ssh/ssh_host_*" in instruction.value.partition("rm -rf ")[2]


@each_lock
def test_locks_are_hashed_and_name_no_address(path):
    text = path.read_text()
    assert "http" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert re.match(r"[a-z0-9._-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_locks_have_the_versions_of_the_project():
    project = pins(ROOT / "requirements.lock")
    for path in LOCKS:
        for name, found in pins(path).items():
            assert found <= project.get(name, found), f"{path.name}: {name}; run docker/lock.sh"
    assert not pins(DOCKER / "airflow-extra.lock").keys() & project.keys()


def test_the_mpi_lock_has_all_that_tbseg_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[><=\[]", wanted)[0] for wanted in project["dependencies"]}
    assert needed - pins(DOCKER / "mpi.lock").keys() == {"mpich"}  # Open MPI is in the image
    assert not any(name.startswith("apache-airflow") for name in pins(DOCKER / "mpi.lock"))


def test_the_base_has_the_locked_airflow():
    image, _ = base(instructions(DOCKER / "airflow.Dockerfile")[0])
    (locked,) = pins(ROOT / "requirements.lock")["apache-airflow"]
    assert f"-{locked}-" in image
    assert helm()["airflowVersion"] == locked


def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def helm():
    return yaml.safe_load((DOCKER / "helm-values.yaml").read_text())


AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")


def test_compose_has_the_services_and_their_health_checks():
    services = compose()["services"]
    assert set(services) == {"postgres", "redis", "init", *AIRFLOW}
    assert {name for name, s in services.items() if "healthcheck" not in s} == {"init"}
    for name, service in services.items():
        _, _, tag = service["image"].rpartition(":")
        assert tag
        assert tag != "latest"
        assert service["image"].startswith("localhost/tbseg-airflow") == (
            name not in ("postgres", "redis")
        )
    assert services["postgres"]["image"].startswith("docker.io/library/postgres:16")
    assert services["init"]["command"] == ["airflow", "db", "migrate"]


def test_compose_starts_the_api_server_first():
    services = compose()["services"]
    assert services["init"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    after = services["api-server"]["depends_on"]
    assert after["init"] == {"condition": "service_completed_successfully"}
    for name in AIRFLOW[1:]:
        assert services[name]["depends_on"]["api-server"] == {"condition": "service_healthy"}
        assert services[name]["depends_on"]["redis"] == {"condition": "service_healthy"}


def test_compose_opens_one_port_on_this_machine_only():
    ports = {name: s["ports"] for name, s in compose()["services"].items() if "ports" in s}
    assert list(ports) == ["api-server"]
    assert all(port.startswith("127.0.0.1:") for port in ports["api-server"])


def test_compose_shares_data_and_state():
    for name in AIRFLOW:
        targets = [volume.rsplit(":", 1)[1] for volume in compose()["services"][name]["volumes"]]
        assert targets == ["/data", "/opt/airflow/.airflow"]
    used = {volume.split(":")[0] for s in compose()["services"].values() for volume in s["volumes"]}
    assert {name for name in used if name.isalpha()} == set(compose()["volumes"])


def test_compose_takes_each_variable_from_the_example_and_no_secret_has_a_default():
    text = (DOCKER / "compose.yaml").read_text()
    example = dict(
        line.split("=", 1)
        for line in (DOCKER / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert used == example.keys()
    for name, value in example.items():
        if re.search(r"KEY|SECRET|PASSWORD", name):
            assert value == ""
            assert f"${{{name}:?" in text
            assert f"${{{name}:-" not in text


def test_an_env_file_is_made_once_with_keys_that_fit(tmp_path):
    for name in ("new-env.sh", ".env.example"):
        (tmp_path / name).write_bytes((DOCKER / name).read_bytes())
    for _ in range(2):
        subprocess.run(["sh", tmp_path / "new-env.sh"], check=True, capture_output=True)
        made = tmp_path / ".env"
        text = made.read_text()
        assert made.stat().st_mode & 0o077 == 0
    assert text == made.read_text()
    values = dict(
        line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#")
    )
    assert all(values.values())
    assert values["AIRFLOW_UID"] == str(os.getuid())
    fernet = pytest.importorskip("cryptography.fernet")
    fernet.Fernet(values["FERNET_KEY"])
    keys = [v for k, v in values.items() if re.search(r"KEY|SECRET|PASSWORD", k)]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[\w-]+", v) for k, v in values.items() if "PASSWORD" in k)


def test_the_env_file_is_ignored():
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()
    first = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in first
    assert not any(line.startswith("!docker/.env") for line in first)


class Health(BaseHTTPRequestHandler):
    """An API server that knows of a healthy scheduler and of no triggerer."""

    def do_GET(self):
        assert self.path == "/api/v2/monitor/health"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"scheduler": {"status": "healthy"}, "triggerer": {"status": null}}')

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(
    ("component", "code"), [("scheduler", 0), ("triggerer", 1), ("dag_processor", 1)]
)
def test_a_health_check_asks_the_api_server(component, code):
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        asked = subprocess.run(
            [sys.executable, DOCKER / "health.py", component],
            env={"TBSEG_API": f"http://127.0.0.1:{server.server_port}"},
            capture_output=True,
        )
        thread.join()
    assert asked.returncode == code


def test_short_names_are_not_used_by_compose():
    for name, service in compose()["services"].items():
        registry = service["image"].partition("/")[0]
        assert registry == "localhost" or "." in registry, name


def test_helm_gives_resources_where_the_chart_looks_for_them():
    """``workers.resources`` is deprecated in the chart."""
    assert set(helm()["workers"]) == {"celery"}
    assert helm()["workers"]["celery"]["resources"]["limits"]["memory"]


def template():
    folder = ROOT / "plugins/tbseg_airflow/backends/kubernetes"
    return yaml.safe_load((folder / "pod-template.yaml").read_text())


def test_helm_and_pods_have_one_user():
    """Else the pods could not write to a run folder that Airflow made."""
    assert helm()["uid"] == template()["spec"]["securityContext"]["runAsUser"]
    (claim,) = (v["persistentVolumeClaim"] for v in helm()["volumes"] if v["name"] == "data")
    (other,) = (
        v["persistentVolumeClaim"] for v in template()["spec"]["volumes"] if v["name"] == "data"
    )
    assert claim == other


def test_those_who_make_and_await_pods_have_the_role():
    """Names of the chart's accounts, for a release "airflow" in the namespace "airflow"."""
    applied = list(yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text()))
    kinds = {one["kind"]: one for one in applied}
    assert list(kinds) == ["Namespace", "ServiceAccount", "Role", "RoleBinding"]
    namespace = kinds["Namespace"]["metadata"]["name"]
    assert {one["metadata"].get("namespace", namespace) for one in applied} == {namespace}
    assert kinds["RoleBinding"]["roleRef"]["name"] == kinds["Role"]["metadata"]["name"]
    subjects = {(one["namespace"], one["name"]) for one in kinds["RoleBinding"]["subjects"]}
    own = kinds["ServiceAccount"]["metadata"]
    assert subjects == {
        (own["namespace"], own["name"]),
        ("airflow", "airflow-worker"),
        ("airflow", "airflow-triggerer"),
    }


def test_helm_has_a_connection_for_pods_in_its_own_cluster():
    (value,) = (
        one["value"] for one in helm()["env"] if one["name"] == "AIRFLOW_CONN_KUBERNETES_DEFAULT"
    )
    assert json.loads(value) == {"conn_type": "kubernetes", "extra": {"in_cluster": True}}


def test_helm_names_secrets_and_holds_none():
    values = helm()
    assert values["executor"] == "CeleryExecutor"
    assert values["triggerer"]["enabled"] is True
    assert values["images"]["airflow"]["tag"] == __version__
    assert compose()["services"]["worker"]["image"].endswith(f":{__version__}")
    for name in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"):
        assert values[name]
    assert values["data"] == {"metadataSecretName": values["fernetKeySecretName"]}
    assert not {"fernetKey", "apiSecretKey", "jwtSecret"} & values.keys()
    mounted = {mount["name"] for mount in values["volumeMounts"]}
    assert mounted == {volume["name"] for volume in values["volumes"]}


def test_helm_repeats_airflow_cfg():
    ours = configparser.RawConfigParser()
    ours.read(ROOT / "airflow.cfg")
    own = {  # what belongs to Kubernetes
        ("core", "auth_manager"),
        ("core", "parallelism"),
        ("core", "simple_auth_manager_passwords_file"),
        ("celery", "worker_concurrency"),
    }
    values = helm()
    for section, options in values["config"].items():
        for name, value in options.items():
            if (section, name) not in own:
                assert ours[section][name] == str(value), (section, name)
    slots = (
        values["config"]["celery"]["worker_concurrency"] * values["workers"]["celery"]["replicas"]
    )
    assert values["config"]["core"]["parallelism"] == slots


def test_helm_has_the_local_settings_of_the_image():
    ours = (ROOT / "config" / "airflow_local_settings.py").read_text()
    assert ours.partition('"""\n\n')[2] == helm()["airflowLocalSettings"]


def test_the_page_names_every_file():
    text = (ROOT / "docs/images.md").read_text()
    for name in (
        "compose.yaml",
        "helm-values.yaml",
        "kubernetes.yaml",
        "new-env.sh",
        "lock.sh",
        "make images",
    ):
        assert name in text
    for path in DOCKERFILES:
        assert path.name in text
    assert set(re.findall(r"localhost/tbseg-[a-z]+:([\d.]+)", text)) == {__version__}
