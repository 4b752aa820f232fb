"""Which process is meant, and whether it is known to be dead: asked of the kernel, of no clock."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from tbseg_ops.stored import Stored


class Process(Stored):
    """A process of one host.

    ``machine``: /etc/machine-id, "" where there is none. ``boot``: the kernel's id of this start of
    the host. ``namespace``: in which ``pid`` is its number. ``started``: clock ticks after the
    host's start; by it the process is told from a later one of the same number.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def this(cls) -> "Process":
        """The process that asks."""
        pid = os.getpid()
        return cls(**_here(), pid=pid, started=_started(pid) or 0)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended; False where that cannot be told from here."""
        here = _here()
        if self.is_elsewhere:
            return False
        return self.boot != here["boot"] or _started(self.pid) != self.started

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is, or may be, a process of another host or another container."""
        here = _here()
        if (self.host, self.machine) != (here["host"], here["machine"]):
            return True
        if self.boot != here["boot"]:
            return self.machine == ""  # started again; or another host that looks like this one
        return self.namespace != here["namespace"]


def _here() -> dict[str, str]:
    return {
        "host": socket.gethostname(),
        "machine": _text("/etc/machine-id"),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "namespace": str(Path("/proc/self/ns/pid").readlink()),
    }


def _started(pid: int) -> int | None:
    """When a process of this namespace was started; None if there is none that could do work."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
