"""The jobs of this host and this user: one folder each, and the kernel's locks to tell who lives.

job.json    what runs: arguments, environment, lease
lock        held by the keeper for as long as it lives
lease       touched at each sign of life of whoever wants the job
cancel      is there once the job is to end
out, err    what the command wrote
exit.json   its exit code, and why it ended if not by itself
"""

import fcntl
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import Field

from tbseg_ops.errors import ConfigError, InputError, ResourceError
from tbseg_ops.settings import JOBS
from tbseg_ops.storage.commit import commit_over
from tbseg_ops.storage.locks import is_locked, locked
from tbseg_ops.stored import Stored

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")
MARK = "TBSEG_JOB"  # in the environment of all that belongs to a job: its folder
CANCELLED = "it was called off"
TOO_LONG = "it took too long"

_MOST_BYTES = 64 * 1024  # of each stream in one answer
_KEPT_SECONDS = 7 * 86_400.0


class Job(Stored):
    """A command.

    ``token``: by it whoever started the job knows it from an earlier one of its name.
    ``arguments``, more ``environment``, for how long it runs unasked for (``lease``), and for how
    long at all (``seconds``).
    """

    token: str
    arguments: tuple[str, ...] = Field(min_length=1)
    environment: dict[str, str] = Field(default_factory=dict)
    lease: float = Field(gt=0)
    seconds: float = Field(default=86_400.0, gt=0)


class Exit(Stored):
    """How a job ended: a negative code is a signal's number."""

    code: int
    reason: str | None = None


class Output(Stored):
    """What is new of both streams, in whole lines; ``exit`` once it has ended and all is said."""

    out: list[str]
    err: list[str]
    out_at: int
    err_at: int
    exit: Exit | None


class JobStore:
    """``folder``: by default one below /var/tmp that belongs to this user, on this host alone."""

    def __init__(self, folder: Path | None = None) -> None:
        own = Path("/var/tmp") / f"tbseg-{os.getuid()}" / socket.gethostname()  # noqa: S108 - owner and mode are checked
        self.folder = folder or JOBS.value or own

    def start(self, name: str, job: Job, slots: int, until: float | None = None) -> str:
        """ "started"; "known" if this very job was before; "full" if ``slots`` jobs run here.

        "ending" if another job of that name runs: it is called off. One that has ended is
        forgotten. "late" if the host's clock (``clock``) is beyond ``until``: whoever asked has
        given up. ResourceError if the job cannot be started.
        """
        self._make()
        with locked(self.folder):
            if until is not None and clock() > until:
                return "late"
            if self.has(name, job.token):
                return "known"
            if self.runs(name):
                (self._of(name) / "cancel").touch()
                return "ending"
            if sum(map(self.runs, self.names())) >= slots:
                return "full"
            self._tidy()
            folder = self._of(name)
            if folder.exists():
                self._exit(folder)  # ends what a killed keeper left
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            (folder / "lease").touch()
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                commit_over(folder / "job.json", job.to_bytes())
                # The lock goes over to the keeper with the descriptor: there is no moment without.
                started = subprocess.run(  # noqa: S603 - a list, no shell
                    [sys.executable, "-m", "tbseg_ops.hosts.keeper", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(lock,),
                    start_new_session=True,
                    cwd="/",
                    check=False,
                )
            except OSError as error:
                raise ResourceError("the job cannot be started", found=error.strerror) from error
            finally:
                os.close(lock)
            if started.returncode != 0:
                said = started.stderr.decode(errors="replace").strip().splitlines()
                raise ResourceError("the job cannot be started", found=said[-1] if said else None)
            return "started"

    def runs(self, name: str) -> bool:
        """Whether the job's keeper lives."""
        return is_locked(self._of(name) / "lock")

    def names(self) -> list[str]:
        """All jobs that are remembered, running or not."""
        self._make()
        return [entry.name for entry in os.scandir(self.folder) if _ID.fullmatch(entry.name)]

    def has(self, name: str, token: str) -> bool:
        """Whether this host remembers the job, running or not."""
        try:
            job = Job.model_validate_json((self._of(name) / "job.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return job.token == token

    def output(self, name: str, out_at: int, err_at: int) -> Output:
        """What was written from these offsets (bytes) on.

        It is a sign of life: the lease begins anew. InputError if there is no such job.
        """
        folder = self._of(name)
        if not (folder / "job.json").exists():
            raise InputError("this host has no such job", found=name)
        ended = not self.runs(name)  # before reading: afterwards nothing is written any more
        os.utime(folder / "lease")
        out, out_at, out_ends = _lines(folder / "out", out_at, ended)
        err, err_at, err_ends = _lines(folder / "err", err_at, ended)
        done = self._exit(folder) if out_ends and err_ends else None
        return Output(out=out, err=err, out_at=out_at, err_at=err_at, exit=done)

    def cancel(self, name: str, seconds: float) -> bool:
        """Have a job ended, and wait for that; whether it has ended."""
        if (folder := self._of(name)).is_dir():
            (folder / "cancel").touch()
        deadline = time.monotonic() + seconds
        while self.runs(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _exit(self, folder: Path) -> Exit:
        try:
            return Exit.model_validate_json((folder / "exit.json").read_bytes())
        except (FileNotFoundError, ValueError):
            _end_orphans(folder)
            return Exit(code=ResourceError.exit_code, reason="its keeper was killed")

    def _of(self, name: str) -> Path:
        if not _ID.fullmatch(name):
            raise InputError("this is no name of a job", expected=_ID.pattern, found=name)
        self._make()
        return self.folder / name

    def _tidy(self) -> None:
        for name in self.names():
            folder = self._of(name)
            if time.time() - folder.stat().st_mtime > _KEPT_SECONDS and not self.runs(name):
                shutil.rmtree(folder, ignore_errors=True)

    def _make(self) -> None:
        """The folder and the one above: they must be this user's, and /var/tmp is everybody's."""
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise ConfigError(
                    "the folder for jobs belongs to somebody else",
                    file=folder,
                    expected=f"a folder of user {os.getuid()}",
                    found=f"user {found.st_uid}",
                    mend="have it removed",
                )


def clock() -> float:
    """Seconds of this host since it was started, asleep or not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _end_orphans(folder: Path) -> None:
    """End what a job left behind whose keeper was killed; the keeper marks all that it starts."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(folder):
                process.kill()


def _lines(path: Path, at: int, ended: bool) -> tuple[list[str], int, bool]:
    """Whole lines from byte ``at`` on, the offset behind them, and whether that is the end."""
    data = b""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(at)
        data = file.read(_MOST_BYTES)
    full = len(data) == _MOST_BYTES
    if full or not ended:
        data = data[: data.rfind(b"\n") + 1] or (data if full else b"")
    text = data.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.splitlines(), at + len(data), ended and not full
