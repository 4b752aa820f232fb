"""What runs the command line of a task.

A ``Backend`` runs it while the task waits. A ``DeferringBackend`` starts it elsewhere and lets the
worker go: the triggerer waits, and the task resumes when the command has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeVar

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tbseg_airflow.operators.step import TbsegStep

JobT = TypeVar("JobT")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a job's output, without its line break."""

    stream: Literal["out", "err"]
    text: str


class Backend(Protocol[JobT]):
    """Runs an argument list somewhere. It knows nothing of tiles, steps or Airflow.

    The first argument is a program's name; the backend finds it where the job runs. Arguments are
    handed on as they are: no shell reads them.
    """

    def submit(self, arguments: Sequence[str]) -> JobT:
        """Start a job; `ProgramMissingError` if its program is not there."""

    def check(self, job: JobT, seconds: float) -> tuple[list[Line], int | None]:
        """The output since the last call, and the exit code once the job has ended.

        Waits at most ``seconds`` for something new. A job that a signal has ended gives the
        signal's negative number. The exit code comes after the last line.
        """

    def cancel(self, job: JobT, grace: float) -> None:
        """End a job and all that it started: SIGTERM, and SIGKILL after ``grace`` seconds."""


class DeferringBackend(Protocol):
    """Runs an argument list elsewhere, without holding a worker in the meantime."""

    def start(self, step: "TbsegStep", context: "Context", arguments: Sequence[str]) -> NoReturn:
        """Start a command, or find the one that an earlier try of this task started.

        Raises ``TaskDeferred`` whose method is ``step``'s "resume", as ``defer`` does.
        """

    def resume(
        self, step: "TbsegStep", context: "Context", event: dict[str, Any], **kept: Any
    ) -> dict[str, Any]:
        """The report of the command that ended; StepFailed or StepRefused. May defer again.

        ``kept``: the ``kwargs`` that it was deferred with.
        """


class ProgramMissingError(Exception):
    """The program of a job is not installed where it should run."""
