"""What runs the command line of a task: three methods. Only the local one exists yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

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


class ProgramMissingError(Exception):
    """The program of a job is not installed where it should run."""
