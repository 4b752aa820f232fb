"""The ranks of an MPI job as a team: rank 0 hands out pieces and works too.

Rank 0 works in a second thread, so that its main thread can answer the others at any time; it
looks for messages every few milliseconds, because waiting inside MPI would burn a core.
Only the main thread calls MPI.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import mpi4py

from tbseg_ops.errors import TbsegError
from tbseg_ops.processes.launcher import OPEN_MPI, launched
from tbseg_ops.storage.stale import once_more

# Under the launcher of another library, MPI would end the process where it is started.
mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
from mpi4py import MPI  # noqa: E402

P = TypeVar("P")
R = TypeVar("R")

_POLL_SECONDS = 0.002
_READ_SECONDS = 0.5


def library() -> str:
    """The MPI library in use, such as "MPICH" or "Open MPI"; it is not started by this."""
    return str(MPI.get_vendor()[0])


def can_start() -> bool:
    """Whether this process survives the start of MPI: not under the launcher of another library."""
    return library() == "Open MPI" or launched()[1] != OPEN_MPI


def own_launcher() -> str:
    """The mpiexec that belongs to the library in use."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else f"the mpiexec of {library()}"


class Ranks:
    """All ranks of MPI.COMM_WORLD."""

    def __init__(self) -> None:
        if not MPI.Is_initialized():
            MPI.Init_thread(MPI.THREAD_MULTIPLE)
        self._comm = MPI.COMM_WORLD
        self.workers = self._comm.size
        self.is_root = self._comm.rank == 0
        sys.excepthook = self._abort

    def map(
        self, work: Callable[[P], R], pieces: Sequence[P], *, short: bool = False
    ) -> Iterator[R]:
        if self.is_root:
            yield from self._lead(work, pieces)
        else:
            self._follow(work, pieces)

    def _lead(self, work: Callable[[P], R], pieces: Sequence[P]) -> Iterator[R]:
        left = iter(range(len(pieces)))
        own, mine = ThreadPoolExecutor(1), None
        released, finished = 0, 0
        status = MPI.Status()
        try:
            while finished < len(pieces) or released < self.workers - 1:
                results: tuple[R, ...] = ()
                if mine is None and (index := next(left, None)) is not None:
                    mine = own.submit(work, pieces[index])
                if self._comm.iprobe(status=status):
                    results += self._comm.recv(source=status.Get_source())
                    index = next(left, None)
                    self._comm.send(index, dest=status.Get_source())
                    released += index is None
                elif mine is None or not mine.done():
                    time.sleep(_POLL_SECONDS)
                if mine is not None and mine.done():
                    results, mine = (*results, mine.result()), None
                finished += len(results)
                yield from results
        finally:
            own.shutdown(wait=False)

    def _follow(self, work: Callable[[P], R], pieces: Sequence[P]) -> None:
        result: tuple[R, ...] = ()
        while True:
            self._comm.send(result, dest=0)
            index = self._comm.recv(source=0)
            if index is None:
                return
            result = (once_more(work, pieces[index]),)

    def _abort(self, kind: type[BaseException], error: BaseException, trace: object) -> None:
        """An exception in one rank ends the job: the others would wait for this one for ever."""
        if isinstance(error, TbsegError):
            print(f"error: rank {self._comm.rank}: {error}", file=sys.stderr)
        else:
            traceback.print_exception(error)
        self.abort(error.exit_code if isinstance(error, TbsegError) else TbsegError.exit_code)

    def abort(self, code: int) -> None:
        """End the whole job. mpiexec forgets what it has not read by then: give it time to read."""
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(_READ_SECONDS)
        self._comm.Abort(code)
        os._exit(code)
