"""Processes that begin warm, may crash or hang, and are killed as by a power cut."""

import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any


def forked(work: Callable[[], None]) -> int:
    """The id of a process that does ``work``; its code is 1 if that raises anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of OpenBLAS's threads, in Python 3.12
        pid = os.fork()
    if pid:
        return pid
    code = 1
    with suppress(BaseException):
        work()
        code = 0
    os._exit(code)


def killed(work: Callable[[], None], pause: str, flag: Path) -> int:
    """``work``, killed where it pauses (see ``storage.commit.pause``), if it comes there; its
    status."""
    flag.unlink(missing_ok=True)

    def pausing() -> None:
        os.environ.update({"TBSEG_PAUSE": pause, "TBSEG_PAUSE_FLAG": str(flag)})
        work()

    pid = forked(pausing)
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if flag.exists():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return ended[1]


class Fork:
    """A process that answers questions in turn by ``answer``; begun anew when it has ended."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self._answer = answer
        self._begin()

    def _begin(self) -> None:
        self.here, there = Pipe()

        def work() -> None:
            self.here.close()
            while True:
                there.send(self._answer(there.recv()))

        self._pid = forked(work)
        there.close()

    def ask(self, question: Any, seconds: float) -> Any:
        """The answer; None if it takes longer or the process ends over it."""
        self.here.send(question)
        with suppress(EOFError, ConnectionError):
            if self.here.poll(seconds):
                return self.here.recv()
        self.end()
        self._begin()
        return None

    def end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self.here.close()
