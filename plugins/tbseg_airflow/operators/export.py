"""The operator of what a run exports for other programs."""

from typing import Any

from airflow.sdk import Context

from tbseg_airflow.operators.step import TbsegStep


class TbsegExport(TbsegStep):
    """``tbseg export`` of what the plan asks for; no pod or host is asked for nothing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(step="export", **kwargs)

    def execute(self, context: Context) -> Any:
        if not context["ti"].xcom_pull(task_ids="plan", key="plan").get("publish"):
            self.log.info("the run exports nothing: its form names no files for other programs")
            return self._finish(context, {"step": self.step, "computed": 0, "reused": 0})
        return super().execute(context)
