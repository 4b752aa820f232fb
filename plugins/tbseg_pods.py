"""The plugin that removes pods which no task waits for any more, when Airflow comes back."""

from airflow.plugins_manager import AirflowPlugin
from tbseg_airflow.comeback import PodKeeper


class TbsegPods(AirflowPlugin):
    name = "tbseg_pods"
    listeners = [PodKeeper()]  # noqa: RUF012
