"""How a step fails in Airflow: at once, or with another try; and what the task's log says of it."""

import signal
import sys
from typing import Any

import structlog
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tbseg_ops.errors import KEYWORDS, class_of, message

_NO_PROGRAM = (126, 127)  # of a shell, of mpiexec or of srun


class Failure(AirflowException):
    """What a ``TbsegError`` says, and in its form; any keyword may be given.

    ``logged``: the task's log has said so already.
    """

    logged = False

    def __init__(self, what: str, **keywords: object) -> None:
        self.what = what
        given = {k.replace("_", " "): v for k, v in keywords.items() if v is not None}
        super().__init__(message(what, given))


class StepFailed(Failure):
    """Disk, memory, a host, a signal, or something damaged: another try may succeed."""


class StepRefused(Failure, AirflowFailException):
    """What was given is wrong, or tbseg is: Airflow does not try again."""


def failure_of(
    command: str, code: int, found: dict[str, Any] | None, errors: list[str]
) -> StepFailed | StepRefused:
    """The exception for a command that ended with ``code``, in the command's own words.

    ``found``: the error as an object, where the command is tbseg's and could still give it.
    ``errors``: what it wrote to standard error, line by line; speaks for all other programs.
    """
    if found is not None:
        kind = StepFailed if found["retried"] else StepRefused
        made = kind(found["what"], **{k: found[k] for k in KEYWORDS if k in found})
        made.logged = bool(errors)
        return made
    known = class_of(code)
    retried = known.retried if known is not None else code not in _NO_PROGRAM
    text = _last_words(errors)
    made = (StepFailed if retried else StepRefused)(
        text or f"{command} {_ending(code)} without saying why"
    )
    made.logged = bool(text)
    return made


def _last_words(errors: list[str]) -> str:
    """From the last line that begins with "error: " to the end; else a traceback's last line."""
    for index in range(len(errors) - 1, -1, -1):
        if errors[index].startswith("error: "):
            return "\n".join(errors[index:]).removeprefix("error: ")
    if any(line.startswith("Traceback ") for line in errors):
        return errors[-1]
    return ""


def _ending(code: int) -> str:
    number = -code if code < 0 else code - 128
    if number > 0:
        try:
            return f"was ended by {signal.Signals(number).name}"
        except ValueError:
            pass
    return f"ended with exit code {code}"


class PlainErrors(BaseOperator):
    """An operator whose ``Failure`` is in the task's log once, without a traceback."""

    def pre_execute(self, context: Context) -> None:
        """What Airflow calls before ``execute``, and before a task resumes."""
        super().pre_execute(context)
        # Changed in place, as structlog's own capture_logs does: Airflow's loggers hold this list.
        processors = structlog.get_config()["processors"]
        if isinstance(processors, list) and _plain not in processors:
            processors.insert(0, _plain)


def _plain(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Airflow logs the exception that ends a task with its traceback, which leads to no cause."""
    error = sys.exc_info()[1]
    if isinstance(error, Failure) and event.pop("exc_info", None):
        event["event"] = "the task failed: see above" if error.logged else f"error: {error}"
    return event
