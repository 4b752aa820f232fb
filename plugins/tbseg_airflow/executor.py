"""The executor of a local deployment (``executor`` in airflow.cfg)."""

from airflow.executors.local_executor import LocalExecutor

from tbseg_airflow.backends import fork


class LoadedExecutor(LocalExecutor):
    """Airflow's LocalExecutor, whose workers have in memory what the commands of tbseg need."""

    def start(self) -> None:
        fork.load()
        super().start()
