"""HDF5 files that may be damaged are looked at by another process before this one opens them.

HDF5 (2.0) crashes or loops for ever on some files in which one bit has flipped. That must not take
a run with it: ``prober`` opens the file first. There is one prober for each process that opens
files; a file is looked at again only when it has changed.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tbseg_ops.errors import ResourceError

_PROGRAM = Path(__file__).with_name("prober.py")
_SECONDS = 10.0  # of computing; an index of a million chunks takes one
_BYTES_PER_SECOND = 2**30  # more time for larger files
_MOST_KNOWN = 4096
# By what a process ends that HDF5 has led astray. Other signals are somebody else's.
_ASTRAY = {
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGTRAP, signal.SIGPROF),
}

Identity = tuple[int, int, int, int, int]


class _Prober:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._known: dict[Path, Identity] = {}

    def damage(self, path: Path) -> str | None:
        try:
            there = path.stat()
        except OSError:
            return None  # whoever opens it is told why
        now = (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)
        with self._lock:
            if self._known.get(path) == now:
                return None
            found = self._ask(path, _SECONDS + there.st_size / _BYTES_PER_SECOND)
            if found is None:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[path] = now
        return found

    def begin(self) -> None:
        with self._lock:
            self._process = self._process or self._start()

    def _ask(self, path: Path, seconds: float) -> str | None:
        for _ in range(2):
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            answer = ""
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps([str(path.absolute()), seconds]) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            if answer.endswith("\n"):
                number, text = json.loads(answer) or (None, None)
                return None if number is not None else text
            code = self.end()
            if -code in _ASTRAY:
                name = signal.Signals(-code).name
                ended = f"more than {seconds:.0f} s" if name == "SIGPROF" else name
                return f"the HDF5 library does not get over it ({ended})"
        raise ResourceError(
            "the process that looks at files before they are opened was ended twice",
            file=path,
            expected="an answer",
            found=f"exit code {code}",
            mend="see whether memory runs out; then give the command again",
        )

    def _start(self) -> "subprocess.Popen[str]":
        # Freed memory is filled with a pattern, so that what reads it goes astray there, not here.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_PERTURB_": "165"}
        try:
            return subprocess.Popen(  # noqa: S603 - a list, no shell
                [sys.executable, "-I", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise ResourceError("a process could not be started", found=error.strerror) from error

    def end(self) -> int:
        """Its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(BrokenPipeError), process:  # closes the pipes, by which it ends, and waits
            pass
        return process.returncode


_prober = _Prober()
atexit.register(_prober.end)


def begin() -> None:
    """Start the process that looks, for a file that comes soon: it takes 0.1 s to begin."""
    _prober.begin()


def damage(path: Path) -> str | None:
    """What is wrong with an HDF5 file, if anything; None also if it cannot be reached.

    Only its voxels are not looked at. ResourceError if the process that looks cannot work.
    """
    return _prober.damage(path)


def _forked() -> None:
    """The prober of the parent is none of ours: its pipes are shared."""
    global _prober
    _prober = _Prober()


os.register_at_fork(after_in_child=_forked)
