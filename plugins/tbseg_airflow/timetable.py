"""Runs that somebody starts, named so that a person can read and type it."""

from datetime import UTC, datetime
from typing import Any

from airflow.timetables.simple import NullTimetable
from airflow.utils.types import DagRunType


class WhenAsked(NullTimetable):
    """Never by itself. A run is named by when it was begun (UTC), to the millisecond.

    ``2026-11-27T14-57-49-936``, where Airflow writes
    ``manual__2026-11-27T14:57:49.936244+00:00``.
    """

    def generate_run_id(self, *, run_type: DagRunType, run_after: datetime, **rest: Any) -> str:
        """Of a run that nobody has named."""
        at = run_after.astimezone(UTC)
        return f"{at:%Y-%m-%dT%H-%M-%S}-{at.microsecond // 1000:03d}"
