"""The operator of one step: runs ``tbseg STEP --run DIR`` and reports what it did."""

import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, BaseOperator, Context

from tbseg_airflow.backend import Backend, Line, ProgramMissingError
from tbseg_airflow.local import LocalBackend
from tbseg_airflow.outcome import StepFailed, StepRefused, failure
from tbseg_airflow.redo import chosen_again

BACKENDS: dict[str, type[Backend[Any]]] = {"local": LocalBackend}
CANCEL_GRACE = 3.0  # Airflow itself sends SIGKILL five seconds after SIGTERM
Scalar = str | int | float | bool | None


class TbsegStep(BaseOperator):
    """One call of the command line.

    ``what`` is set on mapped tasks only: the number of a batch, of which it does what is missing,
    or the name of a tile, which it computes anew. ``options`` are further arguments; empty ones
    are left out. The task's result is the command's, without its lists, and where it ran.
    """

    template_fields = ("run_dir", "options")
    ui_color = "#e8f1fa"

    def __init__(
        self,
        *,
        step: str,
        run_dir: str = "{{ ti.xcom_pull(task_ids='plan', key='plan')['run'] }}",
        what: int | str | None = None,
        options: Sequence[str] = (),
        backend: str = "local",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.run_dir = run_dir
        self.what = what
        self.options = options
        self.backend = backend
        self._job: Any = None
        self._runner: Backend[Any] | None = None

    @property
    def title(self) -> str:
        """A name of a mapped instance for people. Never fails: Airflow would fail the task."""
        if isinstance(self.what, str):
            return self.what
        with contextlib.suppress(Exception):
            from tbseg_ops.run import RunFolder

            return RunFolder(Path(self.run_dir)).plan.batch_name(int(str(self.what)))
        return f"batch {self.what}"

    def execute(self, context: Context) -> dict[str, Scalar]:
        report = self.call(self.command(context))
        ti = context["ti"]
        mapped = ti.map_index is not None and ti.map_index >= 0
        result = _scalars(report)
        result["instance"] = f"{ti.task_id}_{ti.map_index}" if mapped else ti.task_id
        result["clear_number"] = context["dag_run"].clear_number or 0
        self._announce(context, result)
        return result

    def command(self, context: Context) -> list[str]:
        """The argument list; every backend runs this same one."""
        chosen = ["--json", *filter(None, self.options)]
        if isinstance(self.what, str):
            chosen.append(f"--tiles={self.what}")
        elif self.what is not None:
            chosen.append(self._batch(context))
        return ["tbseg", self.step, f"--run={self.run_dir}", *chosen]

    def _batch(self, context: Context) -> str:
        """The batch, or its tile by name if somebody chose to have this one done again."""
        ti, clear_number = context["ti"], context["dag_run"].clear_number or 0
        retries = self.retries or 0
        title = self.title
        if " " not in title and chosen_again(ti, retries, clear_number, self.upstream_task_ids):
            self.log.info("this tile alone was cleared: it is computed again")
            return f"--tiles={title}"
        return f"--batch={self.what}"

    def call(self, arguments: list[str]) -> dict[str, Any]:
        """Run a command to its end, its output in the task's log as it comes."""
        self.log.info("$ %s", shlex.join(arguments))
        runner = self._runner = BACKENDS[self.backend]()
        try:
            job = self._job = runner.submit(arguments)
        except ProgramMissingError as error:
            raise StepRefused(str(error)) from None
        report: dict[str, Any] | None = None
        errors: list[str] = []
        code = None
        while code is None:
            lines, code = runner.check(job, 1.0)
            for line in lines:
                if line.stream == "err":
                    errors = [*errors[-999:], line.text]
                elif (found := _as_object(line.text)) is not None:
                    report = found
                    continue
                self._show(line, errors)
        self._job = None
        if code != 0:
            raise failure(f"tbseg {self.step}", code, errors)
        if report is None:
            raise StepFailed(f"tbseg {self.step} ended well but printed no result")
        for note in report.get("notes", []):
            self.log.warning("note: %s", note)
        counts = {key: value for key, value in _scalars(report).items() if value not in (None, "")}
        self.log.info("done: %s", ", ".join(f"{key} {value}" for key, value in counts.items()))
        return report

    def _show(self, line: Line, errors: Sequence[str]) -> None:
        """Into the task's log; all of an error's message as errors."""
        message_began = any(text.startswith("error: ") for text in errors)
        if line.stream == "err" and message_began:
            self.log.error("%s", line.text)
        elif line.stream == "err" and line.text.startswith(("warning: ", "note: ")):
            self.log.warning("%s", line.text)
        elif line.text:
            self.log.info("%s", line.text)

    def on_kill(self) -> None:
        if self._runner is not None and self._job is not None:
            self.log.warning("this task is being ended; so is its command")
            self._runner.cancel(self._job, CANCEL_GRACE)

    def _announce(self, context: Context, result: dict[str, Scalar]) -> None:
        """An asset event for what this step publishes, if the task declares an alias for it."""
        for outlet in self.outlets:
            if isinstance(outlet, AssetAlias):
                name = quote("/".join(Path(self.run_dir).parts[-2:]).strip("/"))
                asset = Asset(name=f"{name}/segmentation", uri=f"tbseg://{name}/segmentation")
                context["outlet_events"][outlet].add(asset, extra={"run": self.run_dir, **result})


def _scalars(report: dict[str, Any]) -> dict[str, Scalar]:
    """What of a report is small: XCom carries paths and counts, and no lists of tiles."""
    return {k: v for k, v in report.items() if v is None or isinstance(v, str | int | float)}


def _as_object(text: str) -> dict[str, Any] | None:
    """The JSON object in a line, if it is one."""
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict):
                return found
    return None
