"""The plugin by which Airflow makes the pools that tbseg's runs use."""

from airflow.plugins_manager import AirflowPlugin
from tbseg_airflow.pools import Keeper


class TbsegPools(AirflowPlugin):
    name = "tbseg_pools"
    listeners = [Keeper()]  # noqa: RUF012
