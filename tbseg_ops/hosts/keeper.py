"""Runs one job of the store to its end: ``python -m tbseg_ops.hosts.keeper FOLDER``.

It lives in a session of its own, so that a connection that drops does not reach it. It ends the job
when it is told to, and when nobody has asked for the job for as long as the lease says: whoever
wants it may then be sure that it no longer runs, without a connection to this host.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.hosts.store import CANCELLED, MARK, TOO_LONG, Exit, Job, clock
from tbseg_ops.processes.lifetime import adopt_orphans, die_with_parent, end_all
from tbseg_ops.storage.commit import commit_over

GRACE = 8.0  # seconds between SIGTERM and SIGKILL
_LOOK_SECONDS = 0.2


def keep(folder: Path) -> Exit:
    """Run the job of ``folder`` and write down how it ended."""
    job = Job.model_validate_json((folder / "job.json").read_bytes())
    adopt_orphans()  # what the job leaves behind, to be ended with it
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        try:
            process = subprocess.Popen(  # noqa: S603 - a list, no shell
                [_program(job.arguments[0]), *job.arguments[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **job.environment, MARK: str(folder)},
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            refused = ConfigError(f"the program cannot be started: {error}")
            err.write(f"error: {refused}\n".encode())
            out.write(f"{refused.to_json()}\n".encode())
            ended = Exit(code=refused.exit_code)
        else:
            ended = _wait(process, folder, job)
    commit_over(folder / "exit.json", ended.to_bytes())
    return ended


def _wait(process: subprocess.Popen[bytes], folder: Path, job: Job) -> Exit:
    seen, until, reason = None, clock() + job.lease, None
    latest = clock() + job.seconds
    while process.poll() is None and reason is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
        touched = (folder / "lease").stat().st_mtime_ns
        if touched != seen:
            seen, until = touched, clock() + job.lease
        if (folder / "cancel").exists():
            reason = CANCELLED
        elif clock() > until:
            reason = f"nobody asked for it for {job.lease:g} s"
        elif clock() > latest:
            reason = f"{TOO_LONG}: {job.seconds:g} s"
    return Exit(code=end_all(process, GRACE), reason=reason)


def _program(name: str) -> str:
    """A program beside this interpreter, else on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) else name


def _detach(folder: Path) -> None:
    """Go on as a process that nobody waits for; the one that was started ends well."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    log = os.open(folder / "keeper", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for own, other in ((0, nowhere), (1, log), (2, log)):
        os.dup2(other, own)


if __name__ == "__main__":
    _detach(Path(sys.argv[1]))
    keep(Path(sys.argv[1]))
