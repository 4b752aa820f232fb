"""How long the rest of a run takes, and how much disk and memory it needs."""

from tbseg_ops.forecast.disk import disk_missing, disk_needed
from tbseg_ops.forecast.memory import memory_needed
from tbseg_ops.forecast.predict import Workforce, forecast, forecast_of

__all__ = [
    "Workforce",
    "disk_missing",
    "disk_needed",
    "forecast",
    "forecast_of",
    "memory_needed",
]
