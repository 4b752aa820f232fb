"""What the backends have in common.

The local backend runs a command while the task waits. A ``DeferringBackend`` starts it elsewhere
and lets the worker go: the triggerer waits, and the task resumes when the command has ended. All
take the same argument list; the program's name comes first, and is found where the command runs. No
shell reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tbseg_airflow.operators.step import TbsegStep


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a job's output, without its line break."""

    stream: Literal["out", "err"]
    text: str


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
