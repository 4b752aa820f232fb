"""Which host a job was given to, as a small file in the run folder.

Written before the job is started and removed when it has ended: a triggerer that is started anew,
or a task that is tried again, asks that host first, and gives the job to another one only when it
is sure that it does not run there any more.
"""

import hashlib
import json
from pathlib import Path

from tbseg_ops.run.commit import commit_over


def job_name(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """The name of a task instance's job: the same for each of its tries."""
    text = json.dumps([dag_id, run_id, task_id, map_index])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:24]}"


class Claim:
    """The claim of one job."""

    def __init__(self, run: str, job: str) -> None:
        self.path = Path(run) / "jobs" / f"{job}.json"

    def host(self) -> str | None:
        """The id of the Connection that has the job, if any."""
        try:
            return str(json.loads(self.path.read_bytes())["host"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def put(self, host: str) -> None:
        """ConfigError, ResourceError if the run folder cannot be written."""
        commit_over(self.path, json.dumps({"host": host}).encode())

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
