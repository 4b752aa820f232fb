"""Calibration, forecast and a person's approval in a real Airflow."""

import pytest

from tbseg_ops.run import RunFolder
from tests.e2e.deployment import DAG

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


def answer(airflow, run, option):
    """As the page "Required Actions" does it."""
    path = f"dags/{DAG}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    asked = airflow.api.get(path)
    airflow.api.patch(path, {"chosen_options": [option], "params_input": {}})
    return asked


def test_a_short_run_is_measured_and_asks_nobody(airflow, form, tmp_path):
    folder = tmp_path / "run"
    run = airflow.run(**{**form, "calibration": 3}, run=str(folder), approval_hours=1)
    assert airflow.computed(run, "calibrate") == [3]
    assert sum(airflow.computed(run, "classify")) == 5
    assert airflow.result(run, "approve")["approved_by"] == "not needed"
    found = RunFolder(folder).stored_forecast()
    assert (found.tiles, found.basis) == (5, "3 tiles on 1 host")
    assert "Forecast and reality" in (folder / "report.html").read_text()


def test_a_long_run_waits_until_it_is_approved(airflow, form, tmp_path):
    run = airflow.trigger(**form, run=str(tmp_path / "run"), approval_hours=0)
    airflow.until(run, "approve", "awaiting_input")
    asked = answer(airflow, run, "Approve")
    assert asked["subject"].startswith("run: go on for ")
    assert "**8 tiles** to classify" in asked["body"]
    assert "no tile measured yet" in asked["body"]
    assert airflow.wait(run) == "success", airflow.states(run)
    assert airflow.result(run, "approve")["approved_by"] == "admin"
    assert airflow.computed(run, "classify") == [1] * 8
    # Clearing a tile below it does not ask again, and the tile is known to be chosen.
    airflow.clear(run, [["classify", 3]])
    assert airflow.computed(run, "classify") == [1] * 8


def test_a_rejected_run_fails_at_once_and_says_so(airflow, form, tmp_path):
    folder = tmp_path / "run"
    run = airflow.trigger(**form, run=str(folder), approval_hours=0)
    airflow.until(run, "approve", "awaiting_input")
    answer(airflow, run, "Reject")
    assert airflow.wait(run) == "failed"
    instances = airflow.instances(run)
    assert instances["approve"]["state"] == "failed"
    assert instances["classify"]["state"] == "upstream_failed"
    assert any("the run was rejected by admin" in line for line in airflow.log(run, "approve"))
    # Asked again after the task was cleared; what was finished is kept.
    airflow.api.post(
        f"dags/{DAG}/clearTaskInstances",
        {
            **{"dry_run": False, "dag_run_id": run, "task_ids": ["approve"]},
            **{"include_downstream": True, "only_failed": False, "reset_dag_runs": True},
        },
    )
    airflow.until(run, "approve", "awaiting_input")
    answer(airflow, run, "Approve")
    assert airflow.wait(run) == "success", airflow.states(run)
    assert sum(airflow.computed(run, "classify")) == 8
