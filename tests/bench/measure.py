"""Measuring: processor time of one thread, as the median of several runs."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

Seconds = float


def cpu(action: Callable[[], object]) -> Seconds:
    """Processor time of one call, all threads of this process."""
    start = time.process_time()
    action()
    return time.process_time() - start


def wall(action: Callable[[], object]) -> Seconds:
    """Time by the clock."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turn(
    ours: Callable[[], Seconds], theirs: Callable[[], Seconds], runs: int
) -> tuple[Seconds, Seconds]:
    """Medians of both, measured A B A B ..., so that a drifting machine drifts for both."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def child(code: str, **environment: str) -> tuple[Seconds, int]:
    """Seconds by the clock of a new Python process that runs ``code``, and the number it prints."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return time.perf_counter() - start, int(done.stdout.split()[-1])
