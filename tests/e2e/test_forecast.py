"""Calibration, forecast and a person's approval in a real Airflow."""

import time

import pytest

from tbseg_ops.forecast.model import stored_forecast
from tbseg_ops.run import RunFolder
from tests.e2e.deployment import DAG

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


def answer(airflow, run, option):
    """Answer as the page *Required Actions* does it; what was asked."""
    path = f"dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    airflow.until(run, "approve", "awaiting_input", seconds=300)
    asked = airflow.api.get(path)
    # Airflow takes an answer in the very second of the question for a lost task, and asks again.
    time.sleep(3)
    airflow.api.patch(path, {"chosen_options": [option], "params_input": {}})
    return asked


@pytest.mark.slow
def test_a_short_run_is_measured_and_asks_nobody(airflow, form, tmp_path):
    folder = tmp_path / "run"
    more = {"calibration": 3, "approval_hours": 1}  # four tiles
    run = airflow.run(**{**form, **more}, run=str(folder))
    assert airflow.computed(run, "calibrate") == [2]
    assert sorted(airflow.computed(run, "classify")) == [0, 0, 1, 1]
    assert airflow.result(run, "approve")["approved_by"] == "not needed"
    found = stored_forecast(RunFolder(folder))
    assert (found.tiles, found.basis) == (2, "2 tiles on 1 host")
    assert "Forecast and reality" in (folder / "report.html").read_text()


def test_a_long_run_waits_for_a_person(airflow, form, tmp_path):
    """Rejected, it fails at once and says so; asked again and approved, it goes on."""
    more = {"tile": "37,45,30", "approval_hours": 0}  # two tiles
    run = airflow.trigger(**{**form, **more}, run=str(tmp_path / "run"))
    asked = answer(airflow, run, "Reject")
    assert asked["subject"].startswith("run: go on for ")
    assert "**2 tiles** to classify" in asked["body"]
    assert "no tile measured yet" in asked["body"]
    assert airflow.wait(run) == "failed"
    instances = airflow.instances(run)
    assert instances["approve"]["state"] == "failed"
    assert instances["classify"]["state"] == "upstream_failed"
    assert any("the run was rejected by admin" in line for line in airflow.log(run, "approve"))
    body = {"dag_run_id": run, "task_ids": ["approve"], "include_downstream": True}
    more = {"dry_run": False, "only_failed": False, "reset_dag_runs": True}
    airflow.api.post(f"dags/{DAG}/clearTaskInstances", body | more)
    answer(airflow, run, "Approve")
    assert airflow.wait(run) == "success", airflow.states(run)
    assert airflow.result(run, "approve")["approved_by"] == "admin"
    assert airflow.computed(run, "classify") == [1, 1]
