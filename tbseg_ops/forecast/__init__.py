"""How long the rest of a run takes, and how much disk and memory it needs."""

from tbseg_ops.forecast.disk import disk_missing, disk_needed
from tbseg_ops.forecast.memory import memory_needed
from tbseg_ops.forecast.predict import Crew, forecast, prospect

__all__ = ["Crew", "disk_missing", "disk_needed", "forecast", "memory_needed", "prospect"]
