"""The ranks of an MPI job as a team: rank 0 hands out pieces and works too.

Rank 0 works in a second thread, so that its main thread can answer the others at any time; it
looks for messages every few milliseconds, because waiting inside MPI would burn a core.
Only the main thread calls MPI.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Queue
from typing import TypeVar

from mpi4py import MPI

from tbseg_ops.errors import TbsegError

P = TypeVar("P")
R = TypeVar("R")

_POLL_SECONDS = 0.002
_READ_SECONDS = 0.5


class Ranks:
    """All ranks of MPI.COMM_WORLD."""

    def __init__(self) -> None:
        self._comm = MPI.COMM_WORLD
        self.workers = self._comm.size
        self.is_root = self._comm.rank == 0
        sys.excepthook = self._abort

    def map(self, work: Callable[[P], R], pieces: Sequence[P]) -> Iterator[R]:
        if self.is_root:
            yield from self._lead(work, pieces)
        else:
            self._follow(work, pieces)

    def _lead(self, work: Callable[[P], R], pieces: Sequence[P]) -> Iterator[R]:
        next_piece = iter(range(len(pieces)))
        lock = threading.Lock()
        own: Queue[R | BaseException] = Queue(maxsize=2)
        stopped = threading.Event()

        def take() -> int | None:
            with lock:
                return next(next_piece, None)

        def labour() -> None:
            while not stopped.is_set() and (index := take()) is not None:
                try:
                    own.put(work(pieces[index]))
                except BaseException as error:
                    own.put(error)
                    return

        thread = threading.Thread(target=labour, daemon=True)
        thread.start()
        released, finished = 0, 0
        status = MPI.Status()
        try:
            while finished < len(pieces) or released < self.workers - 1:
                idle = True
                if self._comm.iprobe(status=status):
                    idle = False
                    result = self._comm.recv(source=status.Get_source())
                    index = take()
                    self._comm.send(index, dest=status.Get_source())
                    released += index is None
                    if result is not None:
                        finished += 1
                        yield result[0]
                try:
                    mine = own.get_nowait()
                except Empty:
                    if idle:
                        time.sleep(_POLL_SECONDS)
                    continue
                if isinstance(mine, BaseException):
                    raise mine
                finished += 1
                yield mine
        finally:
            stopped.set()

    def _follow(self, work: Callable[[P], R], pieces: Sequence[P]) -> None:
        result: tuple[R] | None = None
        while True:
            self._comm.send(result, dest=0)
            index = self._comm.recv(source=0)
            if index is None:
                return
            result = (work(pieces[index]),)

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
