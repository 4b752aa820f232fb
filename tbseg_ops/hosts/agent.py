"""Speaks for this host on standard input and output: one JSON object a line, a question each.

It keeps nothing in memory: it may end at any time, with its connection, and another one goes on.
"""

import json
import os
import socket
from collections.abc import Callable
from typing import Any, TextIO

from tbseg_ops import __version__
from tbseg_ops.errors import InputError, ResourceError, TbsegError
from tbseg_ops.hosts.store import Job, JobStore, clock


class Agent:
    """Each public method of the table below answers one kind of question."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._answers: dict[str, Callable[..., dict[str, Any]]] = {
            "hello": self._hello,
            "start": self._start,
            "output": self._output,
            "cancel": self._cancel,
        }

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer, or {"error": text, "code": exit code of the error's class}."""
        try:
            kind = self._answers.get(str(question.pop("ask", None)))
            if kind is None:
                raise InputError("the agent does not know this question", found=question)
            return kind(**question)
        except TbsegError as error:
            return {"error": str(error), "code": error.exit_code}
        except (TypeError, ValueError) as error:
            return {"error": f"the question is wrong: {error}", "code": InputError.exit_code}
        except OSError as error:
            text = f"{error.filename}: {error.strerror}"
            return {"error": text, "code": ResourceError.exit_code}

    def _hello(self) -> dict[str, Any]:
        return {
            "host": socket.gethostname(),
            "version": __version__,
            "clock": clock(),
            "cores": len(os.sched_getaffinity(0)),
        }

    def _start(self, name: str, slots: int, until: float, **job: Any) -> dict[str, Any]:
        return {"state": self._store.start(name, Job(**job), slots, until)}

    def _output(self, name: str, token: str, out_at: int, err_at: int) -> dict[str, Any]:
        if not self._store.has(name, token):
            return {"gone": True}
        return self._store.output(name, out_at, err_at).model_dump()

    def _cancel(self, name: str, token: str) -> dict[str, Any]:
        return {"ended": not self._store.has(name, token) or self._store.cancel(name, 0)}


def serve(questions: TextIO, answers: TextIO, store: JobStore | None = None) -> None:
    """Answer until the questions end. Each answer has the ``number`` of its question."""
    agent = Agent(store or JobStore())
    for line in questions:
        question = json.loads(line)
        number = question.pop("number", None)
        answers.write(json.dumps({**agent.answer(question), "number": number}) + "\n")
        answers.flush()
