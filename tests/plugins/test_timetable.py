"""What runs are called that somebody starts."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_a_run_is_named_by_its_begin_in_utc(zone):
    from airflow.utils.types import DagRunType
    from tbseg_airflow.timetable import WhenAsked

    at = datetime(2026, 11, 27, 14, 57, 49, 936_244, tzinfo=UTC).astimezone(ZoneInfo(zone))
    table = WhenAsked()
    name = table.generate_run_id(run_type=DagRunType.MANUAL, run_after=at, data_interval=None)
    assert name == "2026-11-27T14-57-49-936"
    assert DagRunType.from_run_id(name) == DagRunType.MANUAL
    assert not table.can_be_scheduled
