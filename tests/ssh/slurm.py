"""A SLURM of one node on this machine, from Debian's packages, without systemd. Needs root."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

CONFIG = """ClusterName=tbseg
SlurmctldHost={host}
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={port}
SlurmdPort={next_port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
MaxArraySize=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why it cannot be started here, if it cannot."""
    if os.getuid() != 0:
        return "SLURM's daemons need root here"
    for program in ("slurmctld", "slurmd", "srun", "munged"):
        if shutil.which(program) is None:
            return f"{program} is missing: apt-get install slurmctld slurmd slurm-client munge"
    return None


class Slurm:
    """Started when made; ``environment`` is what ``srun`` needs to find it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname().partition(".")[0]
        port = 16817 + os.getpid() % 1000 * 2
        config = folder / "slurm.conf"
        config.write_text(
            CONFIG.format(
                host=host, folder=folder, port=port, next_port=port + 1, cores=os.cpu_count()
            )
        )
        self.environment = {"SLURM_CONF": str(config)}
        self._munge(folder)
        environment = {**os.environ, **self.environment}
        self.daemons = [
            subprocess.Popen([program, "-D"], env=environment, stderr=subprocess.DEVNULL)
            for program in ("slurmctld", "slurmd")
        ]
        end = time.monotonic() + 30
        while "idle" not in self._state(environment):
            if time.monotonic() > end:
                log = (folder / "slurmctld.log").read_text()[-2000:]
                self.end()
                raise RuntimeError(f"the node does not become idle\n{log}")
            time.sleep(0.3)

    def _munge(self, folder: Path) -> None:
        """The daemon that all others ask; one that runs already is used."""
        self._own_munge = None
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return
        run = Path("/run/munge")
        run.mkdir(exist_ok=True)
        shutil.chown(run, "munge", "munge")
        self._own_munge = subprocess.Popen(
            ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged", "-F"],
            stderr=(subprocess.DEVNULL),
        )
        end = time.monotonic() + 10
        while subprocess.run(["munge", "-n"], capture_output=True).returncode != 0:
            if time.monotonic() > end:
                raise RuntimeError("munged does not answer")
            time.sleep(0.1)

    def _state(self, environment: dict[str, str]) -> str:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], env=environment, capture_output=True, text=True
        )
        return asked.stdout

    def end(self) -> None:
        for daemon in [*reversed(self.daemons), *([self._own_munge] if self._own_munge else [])]:
            daemon.terminate()
            daemon.wait(20)
