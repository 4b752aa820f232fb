"""Some hosts on this machine, each with an SSH server, a job folder and a ``tbseg`` of its own."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from tests.airflow_home import ROOT

# The kernel tells whether a batch is worked on twice at once: the lock lives as long as the work.
TWICE = 99
WRAPPER = """#!/bin/sh
case "$1" in agent|doctor) exec {tbseg} "$@";; esac
for argument in "$@"; do case "$argument" in --batch=*) batch="$1$argument";; esac; done
sleep {seconds}
exec flock -n -E {twice} "{locks}/${{batch:-$1}}" {tbseg} "$@"
"""


@dataclass
class Host:
    """One server; ``conn_id`` is that of its Airflow Connection."""

    number: int
    rack: "Rack"
    port: int = 0
    process: subprocess.Popen[str] | None = None
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def conn_id(self) -> str:
        return f"host{self.number}"

    @property
    def jobs(self) -> Path:
        return self.rack.folder / "jobs" / self.conn_id

    def start(self) -> None:
        """Start its server, at the same port as before if it ran already."""
        self.jobs.parent.mkdir(mode=0o700, exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.ssh.server"),
                *(str(self.rack.folder / name) for name in ("host_key", "authorized")),
                str(self.port),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TBSEG_JOBS": str(self.jobs), "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(10)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def connection(self) -> str:
        """As the environment variable AIRFLOW_CONN_... holds it."""
        public = (self.rack.folder / "host_key.pub").read_text().split()
        extra = {
            "key_file": str(self.rack.folder / "client_key"),
            "host_key": " ".join(public[:2]),
            "tbseg": str(self.rack.program),
            "slots": 2,
            **self.extra,
        }
        return json.dumps(
            {
                "conn_type": "ssh",
                "host": "127.0.0.1",
                "port": self.port,
                "login": "anyone",
                "extra": json.dumps(extra),
            }
        )


class Rack:
    """``count`` hosts. The servers are started by ``start`` and ended by ``end``."""

    def __init__(self, folder: Path, count: int, seconds: float = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("host_key", "client_key"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(str(folder / name))
            (folder / name).chmod(0o600)
            key.write_public_key(str(folder / f"{name}.pub"))
        (folder / "authorized").write_text((folder / "client_key.pub").read_text())
        (folder / "locks").mkdir()
        self.program = folder / "tbseg"
        self.program.write_text(
            WRAPPER.format(
                tbseg=Path(sys.executable).with_name("tbseg"),
                seconds=seconds,
                twice=TWICE,
                locks=folder / "locks",
            )
        )
        self.program.chmod(0o755)
        self.hosts = [Host(i + 1, self) for i in range(count)]

    def start(self) -> None:
        for host in self.hosts:
            host.start()

    def end(self) -> None:
        for host in self.hosts:
            if host.process is not None:
                host.signal(signal.SIGKILL)

    @property
    def environment(self) -> dict[str, str]:
        """The Connections, as environment variables for Airflow."""
        return {f"AIRFLOW_CONN_{h.conn_id.upper()}": h.connection() for h in self.hosts}

    def settings(self, **more: object) -> dict[str, object]:
        return {"hosts": [h.conn_id for h in self.hosts], "lease": 6.0, **more}
