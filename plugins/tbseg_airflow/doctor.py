"""The operator of the checks before work starts: ``tbseg doctor`` where the work will be done."""

import hashlib
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from tbseg_airflow.step import Scalar, TbsegStep

# tbseg_ops is imported when a task runs: parsing the DAG must stay quick.


class TbsegDoctor(TbsegStep):
    """Leaves a file in the run folder that each machine must find, and names Airflow's version."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(step="doctor", **kwargs)

    def execute(self, context: Context) -> dict[str, Scalar]:
        from tbseg_ops.steps import leave_token

        leave_token(Path(self.run_dir), _token(context))
        return super().execute(context)

    def command(self, context: Context) -> list[str]:
        from tbseg_ops import __version__

        options = [f"--token={_token(context)}", f"--version={__version__}"]
        return [*super().command(context), *options]

    def _finish(self, context: Context, report: dict[str, Any]) -> dict[str, Scalar]:
        from tbseg_ops.steps import take_token

        take_token(Path(self.run_dir), _token(context))
        return super()._finish(context, report)


def _token(context: Context) -> str:
    """The same for each try, so that a failed one leaves no more than one file."""
    return hashlib.sha256(context["ti"].run_id.encode()).hexdigest()[:24]
