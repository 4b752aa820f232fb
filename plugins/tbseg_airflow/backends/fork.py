"""A command as a fork of a process that has tbseg in memory, where a program would load it anew.

Airflow's executor forks its workers, and these fork a process for each task. What the executor has
imported before (``load``, called by executor.py) all of them have; so a command begins in
hundredths of a second, where a program needs most of a second for numpy, HDF5, pydantic.

A fork has what its parent has, and that is Airflow's: signal handlers, log handlers, streams that
belong to the task. The child puts these down before it calls the command line.
"""

import gc
import logging
import multiprocessing
import os
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any, TextIO

from setproctitle import setproctitle

import tbseg_ops
from tbseg_ops.errors import printable
from tbseg_ops.processes.lifetime import die_with_parent
from tbseg_ops.storage.cache import sources_digest

PROGRAM = "tbseg"
# What a command would import when it is called.
_MODULES = (
    "tbseg_ops.cli.main",
    "tbseg_ops.cli.plan",
    "tbseg_ops.cli.doctor",
    "tbseg_ops.cli.single",
    "tbseg_ops.cli.forecast",
    "tbseg_ops.engines.native.engine",
    "tbseg_ops.report",
    "tbseg_ops.run.rows",
)
_loaded: set[bytes] = set()  # digest of the sources that are in memory, if they are
_kept: list[Any] = []  # what must not be collected
_ANSWERED = {signal.SIGTERM, signal.SIGINT}
_UNKNOWN = 1  # the exit code where there is none


def load() -> None:
    """Import what commands need, for all processes that are forked from here on."""
    before = _sources()
    for name in _MODULES:
        import_module(name)
    if before:
        _loaded.add(before)


def is_possible() -> bool:
    """Whether this process has tbseg in memory, and as it is installed now: after an update of the
    package under a running deployment a program is started, which loads it anew."""
    return bool(_loaded) and _sources() in _loaded


def _sources() -> bytes:
    """A digest of them; nothing while they are being replaced."""
    with suppress(OSError):
        return sources_digest(Path(tbseg_ops.__file__).parent).digest()
    return b""


class Fork:
    """A running command; ``arguments`` are those of ``tbseg``. Like a ``Popen`` with two pipes."""

    def __init__(self, arguments: Sequence[str]) -> None:
        out, to_out = os.pipe()
        err, to_err = os.pipe()
        ends = (out, err), (to_out, to_err)
        self._process = multiprocessing.get_context("fork").Process(
            target=_command, args=(list(arguments), *ends), daemon=True
        )
        # A signal between the fork and the child's first lines would be answered by Airflow.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)
            os.close(to_out)
            os.close(to_err)
        self.pid = int(self._process.pid or 0)
        self.stdout: IO[bytes] = os.fdopen(out, "rb")
        self.stderr: IO[bytes] = os.fdopen(err, "rb")

    def wait(self) -> int:
        """The exit code, -N after signal N; for one thread only."""
        self._process.join()
        code = self._process.exitcode
        return _UNKNOWN if code is None else code


def _command(arguments: list[str], reads: tuple[int, int], writes: tuple[int, int]) -> None:
    """The life of the child. multiprocessing makes an exit code of what it raises."""
    os.setsid()
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is None or os.getppid() != parent.pid:  # it ended before
        os._exit(_UNKNOWN)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)
    multiprocessing.current_process().daemon = False  # it may have workers of its own
    _take_streams(reads, writes)
    _take_logs()
    os.environ["PYTHONUNBUFFERED"] = "1"  # for what it starts
    sys.modules["__main__"] = ModuleType("__main__")  # workers would import that of Airflow
    sys.argv = [PROGRAM, *arguments]
    setproctitle(printable(" ".join(sys.argv)))
    try:
        import_module("tbseg_ops.cli.main").main()
    finally:
        # Tells pools that are still open to end, as at the end of a program; before Python 3.13
        # multiprocessing would wait for their workers first.
        threading._shutdown()  # type: ignore[attr-defined]


def _take_streams(reads: tuple[int, int], writes: tuple[int, int]) -> None:
    """Standard streams of the child's own, and none of Airflow's sockets.

    Nothing of the parent's may be collected here: the end of a forgotten stream would close a
    descriptor of its number, which is another file by then.
    """
    gc.freeze()
    _kept.extend((sys.stdin, sys.stdout, sys.stderr))
    nothing = os.open(os.devnull, os.O_RDWR)
    for source, number in ((nothing, 0), (writes[0], 1), (writes[1], 2)):
        os.dup2(source, number)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # that of the list itself
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.dup2(nothing, descriptor, inheritable=False)
    for descriptor in (nothing, *reads, *writes):
        os.close(descriptor)
    before = sys.__stdout__  # Python's own, with the encoding of the locale
    encoding, errors = (before.encoding, before.errors) if before else ("utf-8", "strict")
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", 1, encoding, errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115


def _take_logs() -> None:
    """Log lines, warnings and tracebacks as Python has them before Airflow sets them up."""
    _kept.extend(logging.root.handlers)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    logging.disable(logging.NOTSET)
    warnings.showwarning = _show_warning
    sys.excepthook = sys.__excepthook__


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    print(text, end="", file=file or sys.stderr)
