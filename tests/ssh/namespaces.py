"""Hosts in network namespaces, each with its own name, processes and real sshd. Needs root."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from tests.ssh.rack import TWICE, WRAPPER

BRIDGE, NET = "tbsegbr", "10.77.8"
SSHD = "/usr/sbin/sshd"
CONFIG = """Port 22
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
MaxStartups {startups}
"""


def missing() -> str | None:
    """Why hosts cannot be made here, if they cannot."""
    if os.getuid() != 0:
        return "network namespaces need root"
    for program in (SSHD, "ip", "unshare", "ssh"):
        if shutil.which(program) is None:
            return f"{program} is missing: apt-get install openssh-server iproute2"
    tried = subprocess.run(["ip", "netns", "add", "tbsegtry"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"no network namespace: {tried.stderr.strip()}"
    run("ip", "netns", "delete", "tbsegtry")
    return None


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def remove(kind: str, name: str) -> None:
    """Delete a link or a namespace, if it is there."""
    subprocess.run(["ip", kind, "delete", name], check=False, capture_output=True)


@dataclass
class Host:
    """A namespace with an address; ``startups``: sshd's MaxStartups."""

    number: int
    folder: Path
    program: Path
    startups: str = "100"
    process: subprocess.Popen[bytes] | None = None

    @property
    def conn_id(self) -> str:
        return f"net{self.number}"

    @property
    def address(self) -> str:
        return f"{NET}.{self.number + 10}"

    def start(self) -> None:
        name, number = f"tbseg{self.number}", str(self.number)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"tbv{number}", "type", "veth", "peer", "eth0", "netns", name)
        run("ip", "link", "set", f"tbv{number}", "master", BRIDGE, "up")
        run("ip", "-n", name, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run("ip", "-n", name, "link", "set", device, "up")
        own = self.folder / name
        (own / "tmp").mkdir(parents=True, exist_ok=True)
        config = own / "sshd_config"
        config.write_text(
            CONFIG.format(address=self.address, folder=self.folder, startups=self.startups)
        )
        inside = (
            f"hostname {name}; mount -t proc proc /proc; mount --bind '{own}/tmp' /var/tmp; "
            f"exec {SSHD} -D -e -f '{config}'"
        )
        command = ["ip", "netns", "exec", name, "unshare", "--uts", "--mount", "--pid", "--fork"]
        with (own / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--kill-child", "sh", "-c", inside], stderr=log
            )

    def cut(self) -> None:
        """Its cable is pulled; its processes go on."""
        run("ip", "link", "set", f"tbv{self.number}", "down")

    def mend(self) -> None:
        run("ip", "link", "set", f"tbv{self.number}", "up")

    def end(self) -> None:
        """It dies with all its processes."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        remove("link", f"tbv{self.number}")
        remove("netns", f"tbseg{self.number}")

    def connection(self) -> str:
        key = (self.folder / "host_key.pub").read_text().split()
        extra = {
            "key_file": str(self.folder / "client_key"),
            "host_key": " ".join(key[:2]),
            "tbseg": str(self.program),
            "slots": 2,
        }
        values = {"conn_type": "ssh", "host": self.address, "login": "root"}
        return json.dumps({**values, "extra": json.dumps(extra)})


class Net:
    """A bridge with ``count`` hosts."""

    def __init__(self, folder: Path, count: int, seconds: float = 0) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        (folder / "locks").mkdir()
        for name in ("host_key", "client_key"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(str(folder / name))
            (folder / name).chmod(0o600)
            key.write_public_key(str(folder / f"{name}.pub"))
        shutil.copy(folder / "client_key.pub", folder / "authorized")
        program = folder / "tbseg"
        program.write_text(
            WRAPPER.format(
                tbseg=Path(sys.executable).with_name("tbseg"),
                seconds=seconds,
                twice=TWICE,
                locks=folder / "locks",
            )
        )
        program.chmod(0o755)
        # What one host reaches another with, for MPI.
        self.ssh = folder / "ssh"
        self.ssh.write_text(
            f"#!/bin/sh\nexec /usr/bin/ssh -i '{folder}/client_key' -o StrictHostKeyChecking=yes"
            f" -o UserKnownHostsFile='{folder}/known_hosts' -o BatchMode=yes \"$@\"\n"
        )
        self.ssh.chmod(0o755)
        self.hosts = [Host(i + 1, folder, program) for i in range(count)]
        public = " ".join((folder / "host_key.pub").read_text().split()[:2])
        known = [f"{host.address} {public}\n" for host in self.hosts]
        (folder / "known_hosts").write_text("".join(known))

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        self.end()  # what a test run that was killed may have left
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{NET}.1/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for host in self.hosts:
            host.start()
        time.sleep(0.5)

    def end(self) -> None:
        for host in self.hosts:
            host.end()
        remove("link", BRIDGE)

    @property
    def environment(self) -> dict[str, str]:
        return {f"AIRFLOW_CONN_{h.conn_id.upper()}": h.connection() for h in self.hosts}

    def settings(self, **more: object) -> dict[str, object]:
        return {"hosts": [h.conn_id for h in self.hosts], "lease": 8.0, **more}
