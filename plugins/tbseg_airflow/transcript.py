"""What a command says: its output goes to the task's log, its last JSON object is its result."""

import contextlib
import json
import logging
from collections import deque
from typing import Any, Self

from tbseg_airflow.backends.contract import Line
from tbseg_airflow.outcome import StepFailed, StepRefused, failure_of

_ERROR_LINES, _KEPT_LINES, _LONGEST = 1000, 200, 4000  # the last is in characters


class Transcript:
    """The output of one command, line by line."""

    def __init__(self, command: str, log: Any = None) -> None:
        self.command = command
        self.log = log or logging.getLogger(__name__)
        self.report: dict[str, Any] | None = None
        self.errors: deque[str] = deque(maxlen=_ERROR_LINES)
        self._message_began = False

    def add(self, line: Line) -> None:
        """Into the log; all of an error's message as errors, the result not at all."""
        level = logging.INFO
        if line.stream == "err":
            self.errors.append(line.text[:_LONGEST])
            self._message_began |= line.text.startswith("error: ")
            if self._message_began:
                level = logging.ERROR
            elif line.text.startswith(("warning: ", "note: ")):
                level = logging.WARNING
        elif (found := _as_object(line.text)) is not None:
            self.report = found
            return
        if line.text:
            self.log.log(level, "%s", line.text)

    @property
    def error(self) -> dict[str, Any] | None:
        """What ``TbsegError.to_json`` told of the error that the command has ended with."""
        found = (self.report or {}).get("error")
        whole = isinstance(found, dict) and {"class", "what", "retried"} <= found.keys()
        return found if whole else None

    def failure(self, code: int) -> StepFailed | StepRefused:
        """The exception for a command that ended with ``code``, which is not 0."""
        return failure_of(self.command, code, self.error, list(self.errors))

    def result(self, code: int) -> dict[str, Any]:
        """The result of a command that ended with ``code``; StepFailed or StepRefused if not 0."""
        if code != 0:
            raise self.failure(code)
        if self.report is None:
            raise StepFailed(f"{self.command} ended well but printed no result")
        for note in self.report.get("notes", []):
            self.log.warning("note: %s", note)
        counts = {k: v for k, v in scalars(self.report).items() if v not in (None, "")}
        self.log.info("done: %s", ", ".join(f"{key} {value}" for key, value in counts.items()))
        return self.report

    def kept(self) -> dict[str, Any]:
        """What another process needs to go on, or to give the result: plain JSON."""
        return {
            "command": self.command,
            "report": self.report,
            "errors": list(self.errors)[-_KEPT_LINES:],
        }

    @classmethod
    def of(cls, kept: dict[str, Any], log: Any = None) -> Self:
        """The transcript that ``kept`` was taken from."""
        made = cls(kept["command"], log)
        made.report = kept["report"]
        made.errors.extend(kept["errors"])
        return made


def scalars(report: dict[str, Any]) -> dict[str, str | int | float | bool | None]:
    """What of a report is small: XCom carries paths and counts, and no lists of tiles."""
    return {k: v for k, v in report.items() if v is None or isinstance(v, str | int | float)}


def _as_object(text: str) -> dict[str, Any] | None:
    """The JSON object in a line, if it is one."""
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict):
                return found
    return None
