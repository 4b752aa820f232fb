"""The operators before the big step: a few tiles are measured, and the rest is forecast."""

from typing import Any

from airflow.sdk import Context

from tbseg_airflow.machines import Machines
from tbseg_airflow.operators.step import TbsegStep


class TbsegCalibrate(TbsegStep):
    """``tbseg calibrate``; mapped over shares ("0/2", "1/2"), so that each host gets some tiles."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(step="calibrate", **kwargs)

    @property
    def title(self) -> str:
        return f"share {self.what}"

    def execute(self, context: Context) -> Any:
        """Where nothing is to be measured, no pod or host is asked for nothing."""
        if not Machines.pulled(context).measured:
            return self._finish(context, self.call(self.command(context)))
        return super().execute(context)

    def more(self, context: Context) -> list[str]:
        machines = Machines.pulled(context)
        workers = 1 if machines.slots else machines.places
        return [f"--count={machines.measured}", f"--part={self.what}", f"--workers={workers}"]


class TbsegForecast(TbsegStep):
    """``tbseg forecast`` for as many workers as the backend has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(step="forecast", **kwargs)

    def more(self, context: Context) -> list[str]:
        machines = Machines.pulled(context)
        slots = [f"--slots={host}={number}" for host, number in machines.slots.items()]
        return [f"--workers={machines.places}", *slots, "--batches"]
