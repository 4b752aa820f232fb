"""Who does the pieces of a step: this process, a pool of processes, or the ranks of an MPI job.

In each case an idle worker takes the next piece, and results come back to the *root* in whatever
order they are ready. The work function and its pieces must be picklable.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from typing import Protocol, TypeVar

import psutil

from tbseg_ops.errors import ConfigError, ResourceError
from tbseg_ops.processes.launcher import launched
from tbseg_ops.processes.lifetime import die_with_parent, end
from tbseg_ops.storage.stale import once_more

P = TypeVar("P")
R = TypeVar("R")

_BEGIN_SECONDS = 1.0  # measured: 0.6 to 1, most of it imports
_END_SECONDS = 5  # for all workers together
_LEFT = 128 + signal.SIGTERM  # of a worker that SIGTERM ended


class Team(Protocol):
    """Something that can do pieces of work. A piece whose file had become stale is done again."""

    workers: int
    is_root: bool

    def map(
        self, work: Callable[[P], R], pieces: Sequence[P], *, short: bool = False
    ) -> Iterator[R]:
        """The results of all pieces, at the root; other ranks work and yield nothing.

        ``short``: a piece takes a second at most, so that all of them may be done before workers
        have begun; what ends the process while it does one is then no error of a worker. The first
        exception of any worker ends the whole and is raised at the root.
        """
        ...


class Alone:
    """One process, one piece after the other."""

    workers = 1
    is_root = True

    def map(
        self, work: Callable[[P], R], pieces: Sequence[P], *, short: bool = False
    ) -> Iterator[R]:
        yield from (once_more(work, piece) for piece in pieces)


class Pool:
    """``workers`` processes of this machine, which begin when they are needed."""

    is_root = True

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._stays = False
        self._idle: ProcessPoolExecutor | None = None

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Workers stay for what is done next, until the end of the outermost such context.

        After an error there are others.
        """
        before, self._stays = self._stays, True
        try:
            yield
        finally:
            self._stays = before
            if not before and self._idle is not None:
                idle, self._idle = self._idle, None
                idle.shutdown()

    def map(
        self, work: Callable[[P], R], pieces: Sequence[P], *, short: bool = False
    ) -> Iterator[R]:
        waiting = deque(pieces)
        if short and self._idle is None:
            # For as long as workers take to begin: often that is all.
            end = time.monotonic() + _BEGIN_SECONDS
            while waiting and time.monotonic() < end:
                yield once_more(work, waiting.popleft())
        if len(waiting) <= 1:
            yield from Alone().map(work, waiting)
            return
        pool, self._idle = self._idle or _started(self.workers), None
        running: dict[Future[R], P] = {}
        try:
            while waiting or running:
                # A short queue: results of big pieces must not pile up at a slow root.
                while waiting and len(running) < self.workers + 1:
                    piece = waiting.popleft()
                    running[pool.submit(once_more, work, piece)] = piece
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    del running[future]
                    yield result
        except BrokenProcessPool:
            raise _died(pool, [str(piece) for piece in running.values()]) from None
        except BaseException:
            _end_workers(pool)
            raise
        if self._stays and self._idle is None:
            self._idle = pool
        else:
            pool.shutdown()  # its workers end by themselves, which takes milliseconds


def _started(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
    )


def team(workers: int = 1) -> Team:
    """The team of this process: the MPI job it is part of, else ``workers`` processes.

    ConfigError if a launcher started several processes that MPI does not join: each would do all.
    """
    count, launcher = launched()
    if count > 1:
        from tbseg_ops.processes.mpi import Ranks, can_start, library, own_launcher

        ranks = Ranks() if can_start() else None
        if ranks is None or ranks.workers == 1:
            raise ConfigError(
                "the launcher is not that of the MPI library that tbseg uses",
                expected=f"{count} ranks of one job",
                found=f"{launcher} started {count} processes, which {library()} does not join",
                mend=f"start them with {own_launcher()} -n {count}, or one process with --workers",
            )
        return ranks
    return Pool(workers) if workers > 1 else Alone()


@contextmanager
def kept(crew: Team) -> Iterator[Team]:
    """The same team, whose workers stay from step to step where they are a pool."""
    with crew.staying() if isinstance(crew, Pool) else nullcontext():
        yield crew


def _begin_worker(root: int) -> None:
    # A root that is killed cannot end its workers: the kernel does.
    die_with_parent(signal.SIGKILL)
    if os.getppid() != root:
        os._exit(1)
    # Ctrl-C reaches the whole terminal group: the root alone answers it and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _died(pool: ProcessPoolExecutor, under_way: Sequence[str]) -> ResourceError:
    """What ended a worker, as far as its exit code says it."""
    processes = list((pool._processes or {}).values())
    pool.shutdown()  # the pool itself ends the others with SIGTERM
    codes = [process.exitcode for process in processes]
    code = next((c for c in codes if c not in (0, None, -signal.SIGTERM, _LEFT)), None)
    found, mend = "one ended without a word", "look at the system's log"
    if code is not None and code < 0:
        found = f"one was ended by {signal.Signals(-code).name}"
    elif code is not None:
        found = f"one ended with exit code {code}"
    if code == -signal.SIGKILL:
        mend += " whether memory ran out; if so, with fewer --workers or a smaller --tile"
    return ResourceError(
        "a worker process died",
        expected=f"{len(processes)} workers until the end",
        found=f"{found}; under way: {', '.join(under_way)}"[:500],
        mend=f"give the same command again, finished tiles are kept; {mend}",
    )


def _end_workers(pool: ProcessPoolExecutor) -> None:
    """End the pool at once: with an error or a signal nobody waits for the tiles under way."""
    processes = dict(pool._processes or {})
    pool.shutdown(wait=False, cancel_futures=True)
    end([child for child in psutil.Process().children() if child.pid in processes], _END_SECONDS)
    for process in processes.values():
        process.join()
