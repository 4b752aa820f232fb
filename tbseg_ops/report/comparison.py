"""What was forecast against what it took: for the report, and for nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from tbseg_ops.forecast.model import Range, stored_forecast
from tbseg_ops.run import RunFolder
from tbseg_ops.run.records import Record


@dataclass(frozen=True)
class Comparison:
    """One figure, in ``unit``: h, or MB."""

    what: str
    unit: str
    forecast: Range
    real: float

    @property
    def error(self) -> float | None:
        """Of the forecast, in percent of what was real; None where that is nothing."""
        return 100 * (self.forecast.expected / self.real - 1) if self.real else None


def compared(folder: RunFolder, records: Sequence[Record]) -> list[Comparison]:
    """Hours of classify and bytes of results; nothing if no forecast of this plan is there.

    ``records``: those of classify, of all tiles. Hours go from the first tile that was begun after
    the forecast to the end of the last one, by the times of the records' files, which decide
    nothing else; tiles that were computed anew later on are left out.
    """
    forecast = stored_forecast(folder)
    if forecast is None:
        return []
    found = []
    made = folder.forecast_file.stat().st_mtime
    ledger = folder.records("classify")
    later = [
        (end - record.seconds, end)
        for record in records
        if record.attempts == 1 and record.seconds > 0
        if (end := ledger.path(record.name).stat().st_mtime) > made
    ]
    if later:
        seconds = max(end for _, end in later) - min(begin for begin, _ in later)
        hours = forecast.of("classify").hours
        found.append(Comparison("hours of classify", "h", hours, seconds / 3600))
    size = sum(r.size for r in records) + folder.segmentation_file.stat().st_size
    found.append(
        Comparison("class files and merged file", "MB", forecast.results.times(1e-6), size / 1e6)
    )
    return found
