"""Commands that may have so much memory and no more, the page cache of their files included."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_more_than(mebibytes: int | None) -> Iterator[list[str]]:
    """The words before a command of which all processes together have a memory cgroup (as root).

    None: no bound, and no words.
    """
    if mebibytes is None:
        yield []
        return
    lines = [line.split(":") for line in Path("/proc/self/cgroup").read_text().split()]
    old = [own for _, controllers, own in lines if "memory" in controllers.split(",")]
    root = Path("/sys/fs/cgroup", *(["memory"] if old else []))
    group = root / (old or [own for _, _, own in lines])[0].lstrip("/") / f"tbseg-{os.getpid()}"
    group.mkdir()
    try:
        limit = "memory.limit_in_bytes" if old else "memory.max"
        (group / limit).write_text(f"{mebibytes}M")
        yield ["sh", "-c", f'echo $$ > "{group}/cgroup.procs"; exec "$@"', "sh"]
    finally:
        while "\n" in (group / "cgroup.procs").read_text():
            time.sleep(0.1)
        group.rmdir()
