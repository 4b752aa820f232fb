"""How late does this host see what others write to a folder? Measured by hosts that meet there.

Each leaves a file and looks for those of the others, then a few more, for which the others are
looking already, so that their caches count. Times are those that the file server gives to files:
no two clocks are compared.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tbseg_ops.errors import ResourceError
from tbseg_ops.storage.commit import commit_new, storage_errors
from tbseg_ops.storage.visibility import seen_within

_COMING = 60.0  # seconds within which all must have come
_ROUNDS = 3  # a cache may be about to end when a file is written: the longest of them counts
_LEAST = 10.0  # seconds that a cache may hold, where nothing is known of it
_PAUSE = 0.05


def meet(folder: Path, hosts: int) -> dict[str, float]:
    """Seconds after which each of the ``hosts`` - 1 others' files was seen here, by their names.

    Called on all of them within a minute. ResourceError if some do not come.
    """
    me = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    own = [_file(folder, number, me) for number in range(1 + _ROUNDS)]
    longest = 3 * max(seen_within(own[0]), _LEAST)
    late: dict[str, float] = {}
    with storage_errors(folder):
        try:
            commit_new(own[0], b"")
            began = own[0].stat().st_mtime

            def saw(file: Path, other: str) -> None:
                written = file.stat().st_mtime
                own[0].write_bytes(b"-")  # what time it is at the file server
                seconds = own[0].stat().st_mtime - written
                late[other] = max(late.get(other, 0.0), seconds if written > began else 0.0)

            for number, mine in enumerate(own):
                if number:
                    commit_new(mine, b"")
                patience = longest if number else _COMING + longest

                def look(number: int = number) -> Iterable[str]:
                    return late if number else _come(folder, me)

                _wait(folder, look, number, hosts - 1, patience, saw)
            time.sleep(1 + 2 * max(late.values(), default=0.0))  # others may see the last one later
        finally:
            for file in own:
                file.unlink(missing_ok=True)
    return {other.rsplit(".", 2)[0]: late[other] for other in sorted(late)}


def _file(folder: Path, number: int, who: str) -> Path:
    """Named like a temporary file, so that what a killed process leaves is swept."""
    return folder / f".meeting-{number}.{who}.tmp"


def _come(folder: Path, me: str) -> list[str]:
    first, last = ".meeting-0.", ".tmp"
    names = [file.name for file in folder.iterdir() if file.name.startswith(first)]
    found = [n.removeprefix(first).removesuffix(last) for n in names if n.endswith(last)]
    return [who for who in found if who != me]


def _wait(
    folder: Path,
    look: Callable[[], Iterable[str]],
    number: int,
    others: int,
    patience: float,
    saw: Callable[[Path, str], None],
) -> None:
    """Look until file ``number`` of each of the others is seen; ``saw`` is called at once."""
    end, seen = time.monotonic() + patience, set[str]()
    while True:
        for other in set(look()) - seen:
            with suppress(FileNotFoundError):
                saw(_file(folder, number, other), other)
                seen.add(other)
                if number < _ROUNDS:
                    _file(folder, number + 1, other).exists()  # the cache holds now: it is free
        if len(seen) >= others:
            return
        if time.monotonic() > end:
            raise ResourceError(
                "not all hosts are seen in the folder",
                file=folder,
                expected=f"{others} other hosts within {patience:.0f} s",
                found=", ".join(sorted(other.rsplit(".", 2)[0] for other in seen)) or "none",
                mend="start the command on all of them at once; is it the same folder on each?",
            )
        time.sleep(_PAUSE)
