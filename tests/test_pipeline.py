"""A step is declared once: one that a copy of the table has more is found in every list."""

import json
import subprocess
import sys
from typing import get_args

import pytest

from tbseg_ops import pipeline
from tests.airflow_home import ROOT, airflow_here

LISTS = """
import json, sys
from tbseg_ops import pipeline
pipeline.STEPS = (*pipeline.STEPS, *(
    pipeline.Step("smooth", "tile", mpi=True, reads=("classes",), writes=("classes",)),
    pipeline.Step("try", "tile", remote=True, like="smooth"),
))
sys.path.insert(0, "plugins")
from scripts import demo
from tbseg_airflow import lineage, pools
from tbseg_airflow.backends.kubernetes import mpijob, settings as kubernetes
from tbseg_airflow.backends.ssh import settings as ssh
from pydantic import TypeAdapter, ValidationError

def taken(kind):
    found = []
    for step in pipeline.STEPS:
        try:
            found.append(TypeAdapter(kind).validate_python(step.name))
        except ValidationError:
            pass
    return found

print(json.dumps({
    "demo": [step.name for step in demo.STEPS],
    "pools": sorted(pools.STEPS),
    "lineage": {name: files for name, files in lineage.FILES.items()},
    "mpijob": mpijob.STEPS,
    "ssh": taken(ssh.MpiStep),
    "kubernetes": taken(kubernetes.Step),
}))
"""


@pytest.fixture(scope="module")
def lists():
    airflow_here()
    done = subprocess.run(
        [sys.executable, "-c", LISTS], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_further_step_is_in_every_list(lists):
    mpi = ["ingest", "split", "classify", "merge"]
    assert lists["demo"][-2:] == ["smooth", "try"]
    assert lists["pools"] == sorted([*mpi, "doctor", "calibrate", "export", "smooth", "try"])
    assert lists["lineage"]["smooth"] == [["classes"], ["classes"]]
    assert lists["mpijob"] == lists["ssh"] == [*mpi, "smooth"]
    assert lists["kubernetes"] == ["doctor", *mpi, "smooth"]  # the other one shares its resources


def test_resources_are_shared():
    assert pipeline.resources_of("calibrate") == "classify"
    assert pipeline.resources_of("classify") == "classify"


def test_steps_with_records_are_steps_in_their_order():
    recorded = get_args(pipeline.RecordedStep)
    assert [step.name for step in pipeline.STEPS if step.name in recorded] == list(recorded)
