"""What Airflow takes from here, at its start: the pool of each task instance."""

from tbseg_airflow.pools import task_instance_mutation_hook

__all__ = ["task_instance_mutation_hook"]
