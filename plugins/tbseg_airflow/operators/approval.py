"""The task that asks a person before a run goes on that will take long."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from tbseg_airflow.outcome import StepRefused

if TYPE_CHECKING:
    from tbseg_ops.forecast.model import Forecast

# tbseg_ops is imported when a task runs: parsing the DAG must stay quick.


class TbsegApproval(ApprovalOperator):
    """Passes at once if the forecast is at most ``most_hours``, or if that is empty.

    Otherwise it waits, as long as it takes, for somebody to approve (the run goes on) or to reject
    (it fails, and is not tried again).
    """

    template_fields = (*ApprovalOperator.template_fields, "run_dir", "most_hours")
    ui_color = "#fdf3d8"

    def __init__(
        self,
        *,
        run_dir: str = "{{ ti.xcom_pull(task_ids='plan', key='plan')['run'] }}",
        most_hours: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(subject="Start a long run?", fail_on_reject=True, **kwargs)
        self.run_dir = run_dir
        self.most_hours = most_hours

    def execute(self, context: Context) -> dict[str, Any]:
        from tbseg_ops.forecast.model import stored_forecast
        from tbseg_ops.run import RunFolder

        if not self.most_hours:
            self.log.info("nobody is asked: the form names no number of hours")
            return self._result(context, "not needed")
        found = stored_forecast(RunFolder(Path(self.run_dir)))
        if found is None:
            raise StepRefused(
                "there is no forecast of this run\n"
                f"  file: {self.run_dir}/forecast.json\n"
                "  mend: clear the task forecast"
            )
        if found.hours.expected <= float(self.most_hours):
            self.log.info("%.2f h are expected: nobody is asked", found.hours.expected)
            return self._result(context, "not needed")
        self.subject, self.body = subject(self.run_dir, found), body(found, self.most_hours)
        self.log.info("%s", self.subject)
        super().execute(context)  # waits
        raise AssertionError("the wait for an answer ended without one")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = super().execute_complete(context, event)
        except HITLRejectException:
            who = (event.get("responded_by_user") or {}).get("name", "somebody")
            self.log.error("the run was rejected by %s", who)
            raise StepRefused(
                f"the run was rejected by {who}\n"
                "  mend: trigger it with larger tiles, fewer outputs or more machines, or clear"
                " this task to be asked again; what is finished is kept"
            ) from None
        return self._result(context, (answer["responded_by_user"] or {}).get("name", "somebody"))

    def _result(self, context: Context, by: str) -> dict[str, Any]:
        """What the tasks below look at: see redo.py."""
        return {
            "approved_by": by,
            "instance": self.task_id,
            "clear_number": context["dag_run"].clear_number or 0,
        }


def subject(run: str, found: "Forecast") -> str:
    """One line: what is asked."""
    from tbseg_ops.forecast.words import between, duration

    hours = found.hours
    return f"{Path(run).name}: go on for {duration(hours.expected)} ({between(hours)})?"


def body(found: "Forecast", most_hours: str) -> str:
    """What a person needs to decide, in Markdown."""
    from tbseg_ops.forecast.words import between, duration, size

    rows = [
        f"| {step.step} | {step.pieces:,} | {duration(step.hours.expected)} "
        f"| {between(step.hours)} | {step.basis} |"
        for step in found.steps
        if step.pieces
    ]
    return "\n".join(
        [
            f"More than the {most_hours} h for which nobody is asked.",
            "",
            "| step | pieces | expected | nine times out of ten | known from |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"- **{found.tiles:,} tiles** to classify, {found.workers} at a time",
            f"- **{size(found.disk.expected)} of disk** more"
            f" ({size(found.disk.low)} to {size(found.disk.high)})",
            f"- **{size(found.memory)} of memory** for each worker",
            "",
            "Rejecting fails the run. What is finished is kept, and a later run goes on from it.",
        ]
    )
