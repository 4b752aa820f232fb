"""The task that asks a person before a run goes on that will take long, or may mean nothing."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context

from tbseg_airflow.outcome import PlainErrors, StepRefused

if TYPE_CHECKING:
    from tbseg_ops.forecast.model import Forecast

# tbseg_ops is imported when a task runs: parsing the DAG must stay quick.


class TbsegApproval(PlainErrors, ApprovalOperator):
    """Passes at once if the forecast is at most ``most_hours``, or if that is empty.

    With ``if_unfit`` (any text), only if there are no warnings either that the volume does not fit
    the classifier. Otherwise it waits, as long as it takes, for somebody to approve (the run goes
    on) or to reject (it fails, and is not tried again).
    """

    template_fields = (*ApprovalOperator.template_fields, "run_dir", "most_hours", "if_unfit")
    ui_color = "#fdf3d8"

    def __init__(
        self,
        *,
        run_dir: str = "{{ ti.xcom_pull(task_ids='plan', key='plan')['run'] }}",
        most_hours: str,
        if_unfit: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(subject="Go on with this run?", fail_on_reject=True, **kwargs)
        self.run_dir = run_dir
        self.most_hours = most_hours
        self.if_unfit = if_unfit

    def execute(self, context: Context) -> dict[str, Any]:
        from tbseg_ops.forecast.model import stored_forecast
        from tbseg_ops.run import RunFolder
        from tbseg_ops.run.status import status

        warnings = status(run=Path(self.run_dir)).warnings
        for text in warnings:
            self.log.warning("%s", text)
        is_unfit = bool(self.if_unfit and warnings)
        if not self.most_hours and not is_unfit:
            self.log.info("nobody is asked: the form does not want it")
            return self._result(context, "not needed")
        found = stored_forecast(RunFolder(Path(self.run_dir)))
        if found is None:
            raise StepRefused(
                "there is no forecast of this run",
                file=f"{self.run_dir}/forecast.json",
                mend="clear the task forecast",
            )
        is_long = bool(self.most_hours) and found.hours.expected > float(self.most_hours)
        if not is_long and not is_unfit:
            self.log.info("%.2f h are expected: nobody is asked", found.hours.expected)
            return self._result(context, "not needed")
        self.subject = subject(self.run_dir, found, warnings)
        self.body = body(found, self.most_hours if is_long else "", warnings)
        self.log.info("%s", self.subject)
        super().execute(context)  # waits
        raise AssertionError("the wait for an answer ended without one")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = super().execute_complete(context, event)
        except HITLRejectException:
            who = (event.get("responded_by_user") or {}).get("name", "somebody")
            raise StepRefused(
                f"the run was rejected by {who}",
                mend="trigger it with larger tiles, fewer outputs, more machines or a better fit,"
                " or clear this task to be asked again; what is finished is kept",
            ) from None
        return self._result(context, (answer["responded_by_user"] or {}).get("name", "somebody"))

    def _result(self, context: Context, by: str) -> dict[str, Any]:
        """What the tasks below look at: see redo.py."""
        return {
            "approved_by": by,
            "instance": self.task_id,
            "clear_number": context["dag_run"].clear_number or 0,
        }


def subject(run: str, found: "Forecast", warnings: Sequence[str]) -> str:
    """One line: what is asked."""
    from tbseg_ops.forecast.words import between, duration

    hours = found.hours
    asked = f"{Path(run).name}: go on for {duration(hours.expected)} ({between(hours)})?"
    return asked + (f" {len(warnings)} warning(s)" if warnings else "")


def body(found: "Forecast", most_hours: str, warnings: Sequence[str]) -> str:
    """What a person needs to decide, in Markdown; ``most_hours``: only if they are exceeded."""
    from tbseg_ops.forecast.words import between, duration, size

    rows = [
        f"| {step.step} | {step.pieces:,} | {duration(step.hours.expected)} "
        f"| {between(step.hours)} | {step.basis} |"
        for step in found.steps
        if step.pieces
    ]
    return "\n".join(
        [
            *([f"More than the {most_hours} h for which nobody is asked.", ""] * bool(most_hours)),
            *(["**The volume may not fit the classifier:**", ""] * bool(warnings)),
            *(f"- {_plain(text)}" for text in warnings),
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


def _plain(text: str) -> str:
    """``text`` in Markdown that shows it as it is: names of classes are anybody's."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~])", r"\\\1", text)
