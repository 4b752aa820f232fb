"""A whole DAG by Airflow itself: mapped tasks, deferral, retries, its store of a task's state."""

import json
import os
import subprocess
import sys

import pytest

from tests.airflow_home import make_home

DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from tbseg_airflow.operators.step import TbsegStep

with DAG("pods", schedule=None) as dag:
    TbsegStep.partial(
        task_id="classify", step="classify", run_dir="/run {{ 1 + 1 }}", backend="kubernetes",
        retries=1, retry_delay=timedelta(0),
    ).expand(what=[0, "z000_y000_x001"])

if __name__ == "__main__":
    import json
    run = dag.test()
    for ti in sorted(run.get_task_instances(), key=lambda ti: ti.map_index):
        result = ti.xcom_pull(task_ids="classify", map_indexes=ti.map_index)
        print("RESULT", json.dumps([ti.map_index, ti.state, ti.try_number, result]))
"""
PROGRAM = """
import json, sys
kept = bytearray((90 if "--batch=0" in sys.argv else 1) << 20)
import time
time.sleep(0.3)
print(json.dumps({"computed": 1, "run": sys.argv[2]}))
"""


@pytest.mark.filterwarnings("ignore")
def test_a_dag(cluster, programs, variable, tmp_path):
    programs(PROGRAM)
    variable(memory={"classify": "64Mi"})
    home = make_home(tmp_path / "home")
    path = home.path / "dags" / "pods.py"
    path.write_text(DAG)
    environment = {**os.environ, "AIRFLOW_HOME": str(home.path)}
    environment["PYTHONPATH"] = str(home.path / "plugins")
    environment["PATH"] = os.path.dirname(sys.executable) + ":" + environment["PATH"]
    for words in (["-m", "airflow", "db", "migrate"], [str(path)]):
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    results = [json.loads(line.removeprefix("RESULT ")) for line in lines]
    assert [one[:3] for one in results] == [[0, "success", 2], [1, "success", 1]], done.stdout
    for index, _, _, result in results:
        assert result["instance"] == f"classify_{index}"
        assert result["run"] == "--run=/run 2"
    limits = [pod.container["resources"]["limits"]["memory"] for pod in cluster.made]
    assert sorted(limits) == ["128Mi", "64Mi", "64Mi"]
    assert cluster.pods == {}
