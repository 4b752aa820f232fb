"""Who asks for a look is answered by a process of its own: a few at a time, one for each person.

A job says how it is doing line by line. It ends, and its process with it, when whoever reads its
lines goes away, and when its person asks anew.
"""

import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil

from tbseg_ops.errors import ResourceError, TbsegError
from tbseg_ops.look.child import ANSWER, REQUEST, too_much
from tbseg_ops.processes.bounded import bounded
from tbseg_ops.storage.commit import storage_errors

SECONDS = 120.0
_AT_ONCE, _MOST_WAITING = 2, 6
_TELL_SECONDS = 0.5
_LOOK_SECONDS = 0.05
_GRACE = 0.5
_LEAST_MEMORY, _MOST_MEMORY = 2 << 30, 8 << 30
_PASSED_ON = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR")
_CHILD = (sys.executable, "-I", "-m", "tbseg_ops.look.child")


class Job:
    """A request under way; made by ``Desk.ask``."""

    def __init__(self, desk: "Desk", request: dict[str, Any]) -> None:
        self.request = request
        self.begun: float | None = None
        self.answer: bytes | None = None
        self.ended = False
        self._desk = desk

    def lines(self) -> Generator[bytes, None, None]:
        """JSON, a line each: ``{"waiting": others before}`` or ``{"working": seconds}`` every half
        second, at last ``{"answer": ...}`` or ``{"error": ...}``. Who stops reading calls ``end``.
        """
        try:
            while (answer := self._desk.wait(self, _TELL_SECONDS)) is None:
                yield json.dumps(self._desk.state(self)).encode() + b"\n"
            yield answer + b"\n"
        finally:
            self.end()

    def end(self) -> None:
        """Have it ended, wherever it is; nothing if it has."""
        self._desk.end(self)


class Desk:
    """Takes requests of ``child``; for any thread."""

    def __init__(self, at_once: int = _AT_ONCE, waiting: int = _MOST_WAITING) -> None:
        self._at_once, self._most = at_once, at_once + waiting
        self._jobs: dict[str, Job] = {}
        self._turns: list[Job] = []
        self._changed = threading.Condition()
        self.memory = min(_MOST_MEMORY, max(_LEAST_MEMORY, psutil.virtual_memory().total // 2))

    def ask(self, who: str, request: dict[str, Any]) -> Job:
        """A job for ``who``, whose earlier one ends. ResourceError if too many people wait."""
        job = Job(self, request)
        with self._changed:
            if (earlier := self._jobs.get(who)) is not None:
                self.end(earlier)  # not waited for: its turn ends as soon as its process has
            waiting = [one for one in self._turns if not one.ended]
            if len(waiting) >= self._most:
                raise ResourceError(
                    "too many people are looking at volumes at this moment",
                    expected=f"at most {self._most}",
                    mend="try again in a minute",
                )
            self._jobs[who] = job
            self._turns.append(job)
        threading.Thread(target=self._work, args=(who, job), daemon=True).start()
        return job

    def wait(self, job: Job, seconds: float) -> bytes | None:
        """The answer of a job; None if it takes longer than ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: job.answer is not None, seconds)
            return job.answer

    def state(self, job: Job) -> dict[str, Any]:
        """What a job is at."""
        with self._changed:
            if job.begun is not None:
                return {"working": round(time.monotonic() - job.begun, 1)}
            before = self._turns.index(job) if job in self._turns else 0
            return {"waiting": max(1, before - self._at_once + 1)}

    def end(self, job: Job) -> None:
        """See ``Job.end``."""
        with self._changed:
            job.ended = True
            self._changed.notify_all()

    def _work(self, who: str, job: Job) -> None:
        # Also keeps the process alive: it ends with the thread that has started it.
        try:
            with self._changed:
                self._changed.wait_for(lambda: job.ended or self._is_its_turn(job))
                job.begun = time.monotonic()
            answer = _superseded() if job.ended else self._answered(job)
        except TbsegError as error:
            answer = error.to_json().encode()
        except Exception as error:
            answer = TbsegError(f"this is a defect of tbseg: {error!r}").to_json().encode()
        with self._changed:
            job.answer = answer
            self._turns.remove(job)
            if self._jobs.get(who) is job:
                del self._jobs[who]
            self._changed.notify_all()

    def _is_its_turn(self, job: Job) -> bool:
        return job in self._turns[: self._at_once]

    def _answered(self, job: Job) -> bytes:
        with (
            tempfile.TemporaryDirectory(prefix="tbseg-look-") as name,
            storage_errors(Path(name)),
        ):
            folder = Path(name)
            (folder / REQUEST).write_text(json.dumps(job.request))
            with bounded(
                _CHILD,
                folder=folder,
                log=folder / "log",
                environment=_environment(folder),
                seconds=SECONDS,
                memory_bytes=self.memory,
                grace=_GRACE,
            ) as program:
                while (outcome := program.look(_LOOK_SECONDS)) is None:
                    if job.ended:
                        return _superseded()
            if outcome.timed_out:
                raise ResourceError(
                    f"this takes longer than {SECONDS:.0f} s",
                    mend="choose a smaller box, or one where fewer slices have to be read",
                )
            if outcome.code == 0 and (folder / ANSWER).is_file():
                return (folder / ANSWER).read_bytes()
            said = (folder / "log").read_text(errors="replace")
            if "MemoryError" in said or "Cannot allocate memory" in said or outcome.code == -9:
                raise too_much()
            raise ResourceError(
                "the process that looks at the volume did not get over it",
                found=(said.strip().splitlines() or [f"exit code {outcome.code}"])[-1][:500],
                mend="is the volume damaged? tbseg audit says more",
            )


def _superseded() -> bytes:
    return ResourceError("this was ended: something else was asked for").to_json().encode()


def _environment(folder: Path) -> dict[str, str]:
    """All that the process sees of ours: no key, password or Connection of a server."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("TBSEG_")
    }
    return {**passed, "TMPDIR": str(folder), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
