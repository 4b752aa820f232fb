"""Calling a run off: whoever works on it, on whatever machine, sees a file in the run folder.

The file stays until the run is planned again, so that what has not begun does not begin either.
"""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tbseg_ops.errors import CalledOffError
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.storage.commit import commit_over

_LOOK_SECONDS = 2.0


def cancel(run: Path) -> None:
    """End all work on the run folder ``run``. ConfigError if it is none."""
    folder = RunFolder(run)
    assert folder.plan
    commit_over(folder.called_off_file, f"by a command on {socket.gethostname()}\n".encode())


def watch(run: Path) -> None:
    """CalledOffError if the run is called off; if that happens later, this process gets SIGINT."""
    file = RunFolder(run).called_off_file
    _check(file)

    def look() -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            try:
                _check(file)
            except CalledOffError as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGINT)
                return

    threading.Thread(target=look, name="called off?", daemon=True).start()


def _check(file: Path) -> None:
    with suppress(OSError):  # a mount that is away for a moment says nothing
        if file.exists():
            raise CalledOffError(
                "the run was called off",
                file=file,
                mend="make the plan again to go on (tbseg plan, tbseg run, or the task plan)",
            )
