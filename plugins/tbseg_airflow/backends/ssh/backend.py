"""What a task of the backend ssh does: defer to the trigger, and report in the end."""

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NoReturn

from airflow.sdk import Context
from airflow.sdk.exceptions import TaskDeferred

from tbseg_airflow.backends.ssh.assignments import job_name
from tbseg_airflow.backends.ssh.preflight import SshPreflight
from tbseg_airflow.backends.ssh.settings import settings
from tbseg_airflow.backends.ssh.trigger import SshTrigger
from tbseg_airflow.operators.step import TbsegStep
from tbseg_airflow.outcome import StepFailed, StepRefused
from tbseg_airflow.transcript import Transcript


class SshBackend:
    """See ``DeferringBackend``."""

    def start(self, step: TbsegStep, context: Context, arguments: Sequence[str]) -> NoReturn:
        ti = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        kind = SshPreflight if step.step == "doctor" else SshTrigger
        raise TaskDeferred(
            trigger=kind(
                job=job_name(ti.dag_id, ti.run_id, ti.task_id, map_index),
                arguments=list(arguments[1:]),
                run=step.run_dir,
                title=f"tbseg {step.step}",
                settings=settings().model_dump(mode="json"),
            ),
            method_name="resume",
        )

    def resume(
        self, step: TbsegStep, context: Context, event: dict[str, Any], **kept: Any
    ) -> dict[str, Any]:
        if step.step == "doctor":
            return _fit(event["hosts"], step.log)
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


def _fit(hosts: dict[str, dict[str, Any]], log: Any) -> dict[str, Any]:
    """One table of all hosts in the log; StepRefused if one must not, or none can, be used.

    A host that is only away is noted: the others do its work, and it joins when it is back.
    """
    bad, fit = [], 0
    slots: Counter[str] = Counter()
    for conn_id, ended in hosts.items():
        if "problem" in ended:
            mark = "BAD " if ended["refused"] else "note"
            log.warning("%s  %-16s %s", mark, conn_id, ended["problem"])
            if ended["refused"]:
                bad.append(f"{conn_id}: {ended['problem']}")
            continue
        transcript = Transcript.of(ended["transcript"])
        for line in takewhile(lambda line: not line.startswith("error: "), transcript.errors):
            log.info("%-16s %s", conn_id, line)
        if ended["code"] == 0:
            fit += 1
            slots[ended["name"]] += ended["slots"]
        else:
            why = transcript.failure(ended["code"]).what
            bad.append(f"{conn_id}: {why.splitlines()[0]}")
    if bad or not fit:
        raise StepRefused(
            "hosts of the backend ssh are not fit for this run",
            found="; ".join(bad) or "none can be reached",
            mend="see the table above; take a host that is to be left out from the Variable",
        )
    return {"step": "doctor", "fit": fit, "hosts": len(hosts), "slots": dict(slots)}
