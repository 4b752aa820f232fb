"""The operator of one step: runs ``tbseg STEP --run DIR`` and reports what it did."""

import contextlib
import importlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias, Context

from tbseg_airflow.backends.contract import DeferringBackend, ProgramMissingError
from tbseg_airflow.backends.local import LocalBackend, LocalJob
from tbseg_airflow.outcome import PlainErrors, StepRefused
from tbseg_airflow.redo import chosen_again
from tbseg_airflow.transcript import Transcript, scalars

DEFERRING = {
    "ssh": ("tbseg_airflow.backends.ssh.backend", "SshBackend"),
    "kubernetes": ("tbseg_airflow.backends.kubernetes.backend", "KubernetesBackend"),
}
CANCEL_GRACE = 3.0  # Airflow itself sends SIGKILL five seconds after SIGTERM
Scalar = str | int | float | bool | None


class TbsegStep(PlainErrors):
    """One call of the command line.

    ``what`` is set on mapped tasks only: the number of a batch, of which it does what is missing,
    or the name of a tile, which it computes anew. ``options`` are further arguments; empty ones
    are left out. ``backend``: where it runs. The task's result is the command's, without its lists.
    """

    template_fields: Sequence[str] = ("run_dir", "options", "backend")
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
        self._job: LocalJob | None = None
        self._runner: LocalBackend | None = None
        self.end_elsewhere: Callable[[], None] | None = None  # set by a backend that can

    @property
    def title(self) -> str:
        """A name of a mapped instance for people. Never fails: Airflow would fail the task."""
        if isinstance(self.what, str):
            return self.what
        with contextlib.suppress(Exception):
            from tbseg_ops.run import RunFolder

            return RunFolder(Path(self.run_dir)).plan.batch_name(int(str(self.what)))
        return f"batch {self.what}"

    def execute(self, context: Context) -> Any:
        arguments = self.command(context)
        if self.backend != "local":
            self._elsewhere().start(self, context, arguments)  # defers
        return self._finish(context, self.call(arguments))

    def resume(self, context: Context, event: dict[str, Any], **kept: Any) -> Any:
        """What Airflow calls when a command that ran elsewhere has ended."""
        return self._finish(context, self._elsewhere().resume(self, context, event, **kept))

    def _elsewhere(self) -> DeferringBackend:
        """The backend of the form; imported here, since that takes seconds in each task."""
        try:
            module, name = DEFERRING[self.backend]
        except KeyError:
            raise StepRefused(
                "there is no such backend",
                expected=f"local, {', '.join(DEFERRING)}",
                found=self.backend,
            ) from None
        backend: DeferringBackend = getattr(importlib.import_module(module), name)()
        return backend

    def _finish(self, context: Context, report: dict[str, Any]) -> Any:
        """The task's result."""
        ti = context["ti"]
        for text in report.get("warnings", ()):
            self.log.warning("%s", text)
        mapped = ti.map_index is not None and ti.map_index >= 0
        result = scalars(report)
        result["instance"] = f"{ti.task_id}_{ti.map_index}" if mapped else ti.task_id
        result["clear_number"] = context["dag_run"].clear_number or 0
        self._announce(context, result)
        return result

    def command(self, context: Context) -> list[str]:
        """The argument list; every backend runs this same one."""
        options = [*filter(None, self.options), *self.more(context)]
        return ["tbseg", self.step, f"--run={self.run_dir}", "--json", *options]

    def more(self, context: Context) -> list[str]:
        """The options that are not the same for each run and instance."""
        if self.what is None:
            return []
        return [f"--tiles={self.what}"] if isinstance(self.what, str) else self._batch(context)

    def _batch(self, context: Context) -> list[str]:
        """The batch; all of it anew if somebody chose to have this one done again."""
        ti, clear_number = context["ti"], context["dag_run"].clear_number or 0
        retries = self.retries or 0
        if chosen_again(ti, retries, clear_number, self.upstream_task_ids):
            self.log.info("this instance alone was cleared: it is computed again")
            return [f"--batch={self.what}", "--again"]
        return [f"--batch={self.what}"]

    def call(self, arguments: list[str]) -> dict[str, Any]:
        """Run a command to its end on this worker, its output in the task's log as it comes."""
        self.log.info("$ %s", shlex.join(arguments))
        runner = self._runner = LocalBackend()
        try:
            job = self._job = runner.submit(arguments)
        except ProgramMissingError as error:
            raise StepRefused(str(error)) from None
        transcript = Transcript(f"tbseg {self.step}", self.log)
        code = None
        while code is None:
            lines, code = runner.check(job, 1.0)
            for line in lines:
                transcript.add(line)
        self._job = None
        return transcript.result(code)

    def on_kill(self) -> None:
        if self._runner is not None and self._job is not None:
            self.log.warning("this task is being ended; so is its command")
            self._runner.cancel(self._job, CANCEL_GRACE)
        if self.end_elsewhere is not None:
            self.end_elsewhere()

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """What the provider OpenLineage asks for, if it is switched on."""
        from tbseg_airflow.lineage import lineage

        return lineage(self.step, self.run_dir, done=True)

    def get_openlineage_facets_on_failure(self, ti: Any) -> Any:
        from tbseg_airflow.lineage import lineage

        return lineage(self.step, self.run_dir, done=False)

    def _announce(self, context: Context, result: dict[str, Scalar]) -> None:
        """An asset event for what this step publishes, if the task declares an alias for it.

        ``extra``: the command's result, with the run folder as ``run`` and ``file`` as ``report``.
        """
        for outlet in self.outlets:
            if isinstance(outlet, AssetAlias):
                name = self._dataset(context)
                asset = Asset(name=f"{name}/segmentation", uri=f"tbseg://{name}/segmentation")
                extra: dict[str, Any] = {
                    "run": self.run_dir,
                    "report": result.get("file"),
                    **result,
                }
                context["outlet_events"][outlet].add(asset, extra=extra)

    def _dataset(self, context: Context) -> str:
        """The registered dataset of the form; else the last two names of the run folder."""
        dataset = context.get("params", {}).get("dataset")
        return quote(dataset or "/".join(Path(self.run_dir).parts[-2:]).strip("/"))
