"""The operator of the checks before work starts: ``tbseg doctor`` where the work will be done."""

import hashlib
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from tbseg_airflow.machines import Machines
from tbseg_airflow.operators.step import TbsegStep

# tbseg_ops is imported when a task runs: parsing the DAG must stay quick.


class TbsegDoctor(TbsegStep):
    """Leaves a file in the run folder that each machine must find, and names Airflow's version.

    Its result is the list that ``calibrate`` is mapped over; what machines there are goes to an
    XCom of its own, and what was found into the log.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(step="doctor", **kwargs)

    def execute(self, context: Context) -> Any:
        from tbseg_ops.hosts.doctor import leave_token

        leave_token(Path(self.run_dir), _token(context))
        return super().execute(context)

    def more(self, context: Context) -> list[str]:
        from tbseg_ops import __version__

        return [f"--token={_token(context)}", f"--version={__version__}"]

    def _finish(self, context: Context, report: dict[str, Any]) -> list[str]:
        from tbseg_ops.hosts.doctor import take_token

        take_token(Path(self.run_dir), _token(context))
        tiles = context["ti"].xcom_pull(task_ids="plan", key="plan")["tiles"]
        params = context["params"]
        wanted = 0 if params["only_tiles"] else params["calibration"]  # a redo needs no measuring
        machines = Machines.of(self.backend, report, wanted, tiles)
        machines.push(context)
        return [f"{share}/{machines.shares}" for share in range(machines.shares)]


def _token(context: Context) -> str:
    """The same for each try, so that a failed one leaves no more than one file."""
    return hashlib.sha256(context["ti"].run_id.encode()).hexdigest()[:24]
