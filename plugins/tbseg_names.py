"""The plugin by which Airflow names the runs that somebody starts."""

from airflow.plugins_manager import AirflowPlugin
from tbseg_airflow.timetable import WhenAsked


class TbsegNames(AirflowPlugin):
    name = "tbseg_names"
    timetables = [WhenAsked]  # noqa: RUF012
