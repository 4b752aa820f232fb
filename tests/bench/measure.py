"""Measuring: processor time, time by the clock, the memory of a child; medians of several runs."""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.geometry import Box

Seconds = float


def cpu(action: Callable[[], object]) -> Callable[[], Seconds]:
    """Measures the processor time of a call, all threads of this process."""

    def measured() -> Seconds:
        start = time.process_time()
        action()
        return time.process_time() - start

    return measured


def wall(action: Callable[[], object]) -> Callable[[], Seconds]:
    """Measures the time of a call by the clock."""

    def measured() -> Seconds:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return measured


class OtherProcesses:
    """How many cores all other processes of the machine used inside a ``with``, on average."""

    cores: float

    def __enter__(self) -> Self:
        self._start, self._used = time.perf_counter(), self._others()
        return self

    def __exit__(self, *_: object) -> None:
        used = self._others() - self._used
        self.cores = max(0.0, used / (time.perf_counter() - self._start))

    def _others(self) -> Seconds:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        ticks = [int(field) for field in fields]
        idle, waiting = ticks[3], ticks[4]
        busy = (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK")
        return busy - time.process_time()


def in_turn(runs: int, *measured: Callable[[], Seconds]) -> list[Seconds]:
    """The median of each, measured A B A B ..., so that a drifting machine drifts for all."""
    rounds = [[one() for one in measured] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


@dataclass(frozen=True)
class Process:
    """What a new process took for one tile, start-up included: seconds and bytes."""

    clock: Seconds
    cpu: Seconds
    peak: int
    beyond: int


def new_process(
    raw: NDArray[Any], core: Box, classifier: Path, engine: str = "native", **environment: str
) -> Process:
    """One tile in a new process (child.py), with all processes that this one starts."""
    with tempfile.TemporaryDirectory() as folder:
        volume, job = Path(folder, "volume.npy"), Path(folder, "job.json")
        np.save(volume, raw)
        what = {"volume": str(volume), "classifier": str(classifier), "engine": engine}
        job.write_text(json.dumps({**what, "lo": core.lo, "hi": core.hi}))
        before, start = _children(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.child", str(job)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            check=True,
        )
        clock, used = time.perf_counter() - start, _children() - before
    found = json.loads(done.stdout.splitlines()[-1])
    # A process cannot need less than nothing: such a figure would pass every limit.
    if found["beyond"] <= 0:
        raise RuntimeError(f"the peak of a process was not measured: {found}")
    return Process(clock, used, found["peak"], found["beyond"])


def _children() -> Seconds:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
