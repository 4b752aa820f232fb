"""Is this a place for a run? What a run needs of a file system, tried before work begins."""

import fcntl
import os
from pathlib import Path

from tbseg_ops.errors import ResourceError
from tbseg_ops.storage.commit import commit_new, commit_over, storage_errors, temporary
from tbseg_ops.storage.locks import is_locked, lock_errors
from tbseg_ops.storage.visibility import make_folder

LOCKS_DO_NOT_HOLD = "locks do not hold"


def check_place(folder: Path) -> str:
    """Writes, commits, renames and locks in ``folder``, which is made if it is not there.

    What it has beyond what is needed, for people. ConfigError or ResourceError name what it lacks;
    nothing is left behind.
    """
    with storage_errors(folder):
        make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write", str(folder))
    with temporary(folder / "probe") as first, temporary(folder / "probe") as second:
        try:
            commit_new(first, b"one")
            commit_over(second, b"two")
            first.replace(second)
            if second.read_bytes() != b"one" or commit_new(second, b"three"):
                raise ResourceError(
                    "a file that was renamed over another one reads as the other one",
                    file=folder,
                    mend="choose a run folder on another file system",
                )
            links = "hard links" if _has_links(second, first) else "no hard links (not needed)"
            with second.open("rb") as held:
                with lock_errors(folder):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                holds = is_locked(second)
        finally:
            first.unlink(missing_ok=True)
    return f"rename, {'locks' if holds else LOCKS_DO_NOT_HOLD}, {links}"


def _has_links(there: Path, new: Path) -> bool:
    try:
        os.link(there, new)
    except OSError:
        return False
    return True
