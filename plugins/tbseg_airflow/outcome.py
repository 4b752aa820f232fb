"""What an exit code means to Airflow: fail at once, or try again."""

import signal

from airflow.sdk.exceptions import AirflowException, AirflowFailException

# Trying again cannot help: wrong usage, unusable input, a defect, wrong settings, no such program;
# or nobody wants it: the run was called off.
FATAL = frozenset({2, 65, 70, 78, 126, 127, 130})


class StepFailed(AirflowException):
    """Disk, memory, a host, a signal, or something damaged: another try may succeed."""


class StepRefused(AirflowFailException):
    """What was given is wrong, or tbseg is: Airflow does not try again."""


def failure(command: str, code: int, errors: list[str]) -> AirflowException:
    """The exception for a command that ended with ``code``; its text is the command's own message.

    ``errors``: what the command wrote to standard error, line by line.
    """
    text = _message(errors) or f"{command} {_ending(code)} without saying why"
    return StepRefused(text) if code in FATAL else StepFailed(text)


def _message(errors: list[str]) -> str:
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
