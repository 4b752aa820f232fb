"""What a task of the backend ssh does: defer to the trigger, and report in the end."""

from collections.abc import Sequence
from typing import Any, NoReturn

from airflow.sdk import Context, Variable
from airflow.sdk.exceptions import TaskDeferred

from tbseg_airflow.outcome import StepFailed, StepRefused
from tbseg_airflow.ssh.claims import job_name
from tbseg_airflow.ssh.settings import VARIABLE, SshSettings
from tbseg_airflow.ssh.trigger import SshTrigger
from tbseg_airflow.step import TbsegStep
from tbseg_airflow.transcript import Transcript


class SshBackend:
    """See ``DeferringBackend``."""

    def start(self, step: TbsegStep, context: Context, arguments: Sequence[str]) -> NoReturn:
        settings = SshSettings.of(Variable.get(VARIABLE, default=None))
        ti = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        raise TaskDeferred(
            trigger=SshTrigger(
                job=job_name(ti.dag_id, ti.run_id, ti.task_id, map_index),
                arguments=list(arguments[1:]),
                run=step.run_dir,
                title=f"tbseg {step.step}",
                settings=settings.model_dump(mode="json"),
            ),
            method_name="resume",
        )

    def resume(self, step: TbsegStep, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        if "refused" in event:
            raise StepRefused(event["refused"])
        if "lost" in event:
            raise StepFailed(event["lost"])
        transcript = Transcript.of(event["transcript"], step.log)
        if event["reason"]:
            raise StepFailed(
                f"{transcript.command} was ended on {event['host']}: {event['reason']}"
            )
        return {**transcript.result(event["code"]), "host": event["host"]}
