"""Which host a job was given to, as a small file in the run folder.

Written before the job is started and removed when it has ended: a triggerer that is started anew,
or a task that is tried again, asks that host first, and gives the job to another one only when it
is sure that it does not run there any more. Of two who want to write it, the first one counts.
"""

import contextlib
import hashlib
import json
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tbseg_ops.storage.commit import commit_new, storage_errors


def job_name(dag_id: str, run_id: str, task_id: str, map_index: int) -> str:
    """The name of a task instance's job: the same for each of its tries."""
    text = json.dumps([dag_id, run_id, task_id, map_index])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Assignment(BaseModel):
    """``host``: id of a Connection; ``token``: of this very job; ``lease`` (s) as it was given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    token: str = Field(default_factory=lambda: secrets.token_hex(16))
    lease: float
    arguments: tuple[str, ...]


class AssignmentFile:
    """The assignment of one job. ConfigError, ResourceError if the run folder cannot be used."""

    def __init__(self, run: str, job: str) -> None:
        self.path = Path(run) / "jobs" / f"{job}.json"

    def read(self) -> Assignment | None:
        """Who has the job, if anybody."""
        with storage_errors(self.path):
            data = self.path.read_bytes() if self.path.exists() else b""
        with contextlib.suppress(ValidationError):
            return Assignment.model_validate_json(data)
        return None

    def put(self, assignment: Assignment) -> bool:
        """Whether it is ours now: nobody was faster."""
        return commit_new(self.path, assignment.model_dump_json().encode())

    def drop(self, token: str) -> None:
        """Remove it, if it is still that of this very job."""
        assignment = self.read()
        if assignment is not None and assignment.token == token:
            with storage_errors(self.path):
                self.path.unlink(missing_ok=True)
