"""What was forecast against what it took: for the report, and for nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tbseg_ops.forecast.model import Range, stored_forecast
from tbseg_ops.forecast.words import duration, size
from tbseg_ops.run import RunFolder
from tbseg_ops.run.records import Record


@dataclass(frozen=True)
class Comparison:
    """One figure; ``written``: how people read it."""

    what: str
    forecast: Range
    real: float
    written: Callable[[float], str]

    @property
    def error(self) -> float | None:
        """Of the forecast, in percent of what was real; None where that is nothing."""
        return 100 * (self.forecast.expected / self.real - 1) if self.real else None


@dataclass(frozen=True)
class Span:
    """From the begin of the first to the end of the last of some tiles, and how many voxels."""

    seconds: float
    voxels: int


def span_of(folder: RunFolder, records: Sequence[Record], since: float = 0.0) -> Span | None:
    """Of the tiles that this run computed and that ended after ``since`` (in seconds since 1970).

    ``records``: those of classify. Times are those of the records' files, which decide nothing
    else; tiles that were computed anew later on are left out. None if there is no such tile.
    """
    ledger = folder.records("classify")
    made = [
        (end - record.seconds, end, sum(record.counts))
        for record in records
        if record.attempts == 1 and record.seconds > 0 and not (record.origin or record.derived)
        if (end := ledger.path(record.name).stat().st_mtime) > since
    ]
    if not made:
        return None
    begins, ends, voxels = zip(*made, strict=True)
    return Span(max(ends) - min(begins), sum(voxels))


def compared(folder: RunFolder, records: Sequence[Record]) -> list[Comparison]:
    """Hours of classify and bytes of results; nothing if no forecast of this plan is there.

    ``records``: those of classify, of all tiles. Hours are of what was computed after the forecast;
    there are none of a run that took over all.
    """
    forecast = stored_forecast(folder)
    if forecast is None:
        return []
    found = []
    span = span_of(folder, records, since=folder.forecast_file.stat().st_mtime)
    if span is not None:
        hours = forecast.of("classify").hours
        found.append(Comparison("time of classify", hours, span.seconds / 3600, duration))
    written = sum(r.size for r in records) + folder.segmentation_file.stat().st_size
    found.append(Comparison("class files and merged file", forecast.results, written, size))
    return found
