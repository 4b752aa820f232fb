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

    def command(self, context: Context) -> list[str]:
        machines = Machines.pulled(context)
        return [
            "tbseg",
            "calibrate",
            f"--run={self.run_dir}",
            "--json",
            *filter(None, self.options),
            f"--count={machines.measured}",
            f"--part={self.what}",
            f"--workers={1 if machines.slots else machines.places}",
        ]


class TbsegForecast(TbsegStep):
    """``tbseg forecast`` for as many workers as the backend has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(step="forecast", **kwargs)

    def command(self, context: Context) -> list[str]:
        machines = Machines.pulled(context)
        options = [f"--workers={machines.places}"]
        options += [f"--slots={host}={number}" for host, number in machines.slots.items()]
        return [*super().command(context), *options, "--batches"]
