"""What is done when a part of Airflow comes back (registered by ``plugins/tbseg_pods.py``)."""

import logging
import sys
from typing import Any

from airflow.listeners import hookimpl

# What is needed is imported when there is something to do: this is loaded while Airflow is.

log = logging.getLogger(__name__)


class PodKeeper:
    """Has pods removed that no task waits for any more, by the triggerer: it may touch pods."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        from airflow.jobs.job import Job
        from airflow.models.variable import Variable

        # What kind of a job it is has not been told at this point, but by its command.
        if not isinstance(component, Job) or "triggerer" not in sys.argv[1:2]:
            return
        try:
            text = Variable.get_variable_from_secrets("tbseg_kubernetes")
            if text:
                from airflow.utils.session import create_session

                from tbseg_airflow.backends.kubernetes.strays import remove_strays

                with create_session() as session:
                    remove_strays(text, session)
        except Exception as error:  # whatever it is: Airflow starts
            log.warning("pods that nobody waits for could not be looked for: %s", error)
