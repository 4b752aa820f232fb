"""Which runs there are, and where their folders lie: what the task ``plan`` of each has left."""

from pathlib import Path
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.settings import here
from tbseg_ops.view.run_list import RunList

SEGMENT = "tbseg_segment"
_DONE = "success"
_MOST = 200


def folder_of(session: Session, dag_id: str, run_id: str) -> RunFolder:
    """The run folder of a run of the DAG. ConfigError if there is none (yet), or it lies outside
    of ``TBSEG_ROOTS``."""
    plan = _plans(session, [run_id]).get(run_id) if dag_id == SEGMENT else None
    if plan is None:
        raise ConfigError(
            "there is nothing to be seen yet of this run",
            expected=f"a run of {SEGMENT} whose task plan has succeeded",
            found=f"{dag_id}, {run_id}",
            mend="wait for the task plan, or look at its log",
        )
    return RunFolder(Path(here(str(plan["folder"]))))


def latest(session: Session, run_list: RunList) -> list[dict[str, Any]]:
    """The latest runs of the DAG, the newest first."""
    query = select(DagRun).where(DagRun.dag_id == SEGMENT).order_by(DagRun.id.desc())
    found = [_told(run) for run in session.scalars(query.limit(_MOST))]
    plans = _plans(session, [run["run"] for run in found])
    found = [run | plans.get(run["run"], {}) for run in found]
    folders = {run["run"]: Path(here(str(run["folder"]))) for run in found if "folder" in run}
    counted: dict[Path, bool] = {}
    for run in found:
        if (folder := folders.get(run["run"])) is not None:
            # All tiles of a run that has succeeded are done.
            counted[folder] = counted.get(folder, False) or run["state"] != _DONE
    told = run_list.of(counted)
    return [run | (told[folders[run["run"]]] if run["run"] in folders else {}) for run in found]


def _told(run: DagRun) -> dict[str, Any]:
    return {
        "dag": run.dag_id,
        "run": run.run_id,
        "state": str(run.state),
        "started": run.start_date and run.start_date.timestamp(),
        "ended": run.end_date and run.end_date.timestamp(),
        "by": run.triggering_user_name,
        "dataset": (run.conf or {}).get("dataset"),
    }


def _plans(session: Session, run_ids: list[str]) -> dict[str, dict[str, Any]]:
    """What ``plan`` says of each run in which it was successful: ``folder``, ``tiles``."""
    query = select(XComModel.run_id, XComModel.value).where(
        XComModel.dag_id == SEGMENT,
        XComModel.task_id == "plan",
        XComModel.key == "plan",
        XComModel.run_id.in_(run_ids),
    )
    found = {}
    for run_id, value in session.execute(query):
        plan = XComModel.deserialize_value(_Stored(value))
        if isinstance(plan, dict) and isinstance(plan.get("run"), str):
            found[run_id] = {"folder": plan["run"], "tiles": plan.get("tiles")}
    return found


class _Stored:
    def __init__(self, value: Any) -> None:
        self.value = value
