"""What the image for Airflow holds, by its COPY lines and .dockerignore; built where buildah is."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from tests.docker.dockerfile import contents, instructions

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/airflow.Dockerfile"
HOME = PurePosixPath("/opt/airflow")
TEMPLATE = HOME / "plugins/tbseg_airflow/backends/kubernetes/pod-template.yaml"


def files(folder, suffix=""):
    """All below ``folder`` but what Python makes."""
    found = (path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return {path for path in found if "__pycache__" not in path.parts}


def test_each_file_of_the_plugins_is_in_the_image():
    """The backend kubernetes reads its pod template beside its own module."""
    held = contents(DOCKERFILE, ROOT)
    assert held[TEMPLATE] == Path(TEMPLATE.relative_to(HOME))
    for folder in ("plugins", "dags", "config"):
        there = {ROOT / file for path, file in held.items() if path.is_relative_to(HOME / folder)}
        assert there == files(ROOT / folder)


def test_the_package_takes_its_data_along():
    """Wheels hold only the data that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["tbseg_ops"]
    named = {path for one in patterns for path in (ROOT / "tbseg_ops").glob(one)}
    assert named == files(ROOT / "tbseg_ops") - files(ROOT / "tbseg_ops", ".py")


def test_no_module_of_the_plugins_reaches_above_them():
    """What lies there in the tree is not there in the image."""
    for source in files(ROOT / "plugins", ".py"):
        depth = len(source.relative_to(ROOT / "plugins").parts)
        for above in re.findall(r"__file__\)\.parents\[(\d+)\]", source.read_text()):
            assert int(above) < depth - 1, source


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
@pytest.mark.skipif(os.getuid() != 0, reason="buildah needs root here")
def test_a_real_build_copies_the_same(tmp_path):
    """The COPY lines alone, on nothing: what .dockerignore means is buildah's to say."""
    lines = ["FROM scratch"]
    for instruction in instructions(DOCKERFILE):
        if instruction.name in ("WORKDIR", "COPY"):
            lines.append(f"{instruction.name} {instruction.value}")
    made = tmp_path / "Containerfile"
    made.write_text("\n".join(lines))

    def buildah(*arguments):
        command = ["buildah", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    tag = f"localhost/tbseg-copies:{os.getpid()}"
    buildah("build", "--isolation=chroot", "--file", made, "--tag", tag, ROOT)
    container = buildah("from", tag)
    try:
        mounted = Path(buildah("mount", container))
        found = {f"/{p.relative_to(mounted)}" for p in mounted.rglob("*") if p.is_file()}
        assert str(TEMPLATE) in found
        assert found == {str(path) for path in contents(DOCKERFILE, ROOT)}
    finally:
        buildah("rm", container)
        buildah("rmi", tag)
