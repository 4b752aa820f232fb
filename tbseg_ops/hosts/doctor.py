"""doctor: is this machine fit to work on a run? Asked of each machine before work starts."""

import contextlib
import os
import platform
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from tbseg_ops import __version__
from tbseg_ops.errors import TbsegError
from tbseg_ops.forecast.disk import disk_missing
from tbseg_ops.forecast.memory import memory_needed
from tbseg_ops.hosts.cgroup import memory_left
from tbseg_ops.hosts.meeting import meet
from tbseg_ops.run import RunFolder
from tbseg_ops.run.work_left import work_left
from tbseg_ops.run.workplace import engine_of
from tbseg_ops.settings import SEEN_WITHIN, SETTINGS, here, registry_folder
from tbseg_ops.storage.commit import commit_over, free_bytes, temporary
from tbseg_ops.storage.trials import trials
from tbseg_ops.storage.visibility import file_system, looked_again, seen_within
from tbseg_ops.stored import Stored
from tbseg_ops.volume import open_source

State = Literal["good", "note", "bad"]
Found = tuple[State, str, str | None]  # of a check: its state, what was found, how to mend it
_MPI_SECONDS = 60
_TOGETHER = 1.0  # seconds between two hosts that are no lateness of the file system
_MPI = "from mpi4py import MPI; import sys; sys.exit(MPI.COMM_WORLD.size != 2)"
_WIDTHS = {"avx512f": "512-bit", "avx2": "256-bit", "sve": "scalable"}


class Row(Stored):
    """One check: ``bad`` rows must be mended before the run can work here."""

    check: str
    state: State
    found: str
    mend: str | None = None


class Doctor(Stored):
    """All checks of one machine; ``cores`` that this process may use."""

    host: str
    cores: int
    rows: tuple[Row, ...]

    @property
    def fit(self) -> bool:
        return all(row.state != "bad" for row in self.rows)


def leave_token(run: Path, token: str) -> None:
    """Write a file that other machines must find in the run folder (``doctor``'s ``token``)."""
    commit_over(_token_file(RunFolder(run), token), token.encode())


def take_token(run: Path, token: str) -> None:
    """Remove it."""
    _token_file(RunFolder(run), token).unlink(missing_ok=True)


def doctor(*, run: Path, token: str | None = None, version: str = __version__) -> Doctor:
    """Check this machine; what cannot be checked is bad, nothing is raised.

    ``token``: what ``leave_token`` left from elsewhere; ``version``: that of tbseg there.
    """
    checks: dict[str, Callable[[RunFolder], Found]] = {
        "version": lambda _: _version(version),
        "settings": lambda _: _settings(),
        "run folder": _run_folder,
        "same folder": lambda folder: _same_folder(folder, token),
        "disk": _disk,
        "memory": _memory,
        "classifier": _classifier,
        "volume": _volume,
        "processor": lambda _: _processor(),
        "MPI": lambda _: _mpi(),
    }
    return _doctor(run, checks)


def doctor_of_place(*, place: Path, hosts: int = 1) -> Doctor:
    """Check whether a run could lie in the folder ``place``, which needs no plan.

    ``hosts``: on how many this is called at once; each measures how late it sees the others' files.
    """
    checks: dict[str, Callable[[RunFolder], Found]] = {"settings": lambda _: _settings()}
    if hosts > 1:
        checks["other hosts"] = lambda folder: _other_hosts(folder, hosts)
    return _doctor(place, checks)


def _doctor(place: Path, checks: dict[str, Callable[[RunFolder], Found]]) -> Doctor:
    rows = []
    for name, check in checks.items():
        try:
            state, found, mend = check(RunFolder(place))
        except TbsegError as error:
            found = error.what if error.found is None else f"{error.what}: {error.found}"
            state, mend = "bad", error.mend
        except Exception as error:
            state, found, mend = "bad", f"{type(error).__name__}: {error}", None
        rows.append(Row(check=name, state=state, found=found, mend=mend))
    rows.extend(_file_system(place))
    return Doctor(host=socket.gethostname(), cores=_cores(), rows=tuple(rows))


def _good(found: str) -> Found:
    return "good", found, None


def _version(wanted: str) -> Found:
    text = f"tbseg {__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    if wanted == __version__:
        return _good(text)
    return "bad", f"{text}; elsewhere tbseg is {wanted}", "install the same version everywhere"


def _settings() -> Found:
    """What is set of the TBSEG_... variables; a ConfigError if one of them makes no sense."""
    given = [setting for setting in SETTINGS if setting.value is not None]
    registry_folder()
    return _good(", ".join(f"{setting.name}={setting.text}" for setting in given) or "none is set")


def _run_folder(folder: RunFolder) -> Found:
    plan = folder.plan
    if not os.access(folder.path, os.W_OK | os.X_OK, effective_ids=True):
        made = folder.path.stat()
        text = (
            f"{folder.path} is user {made.st_uid}'s, group {made.st_gid}, mode"
            f" {stat.S_IMODE(made.st_mode):04o}: user {os.geteuid()} of groups"
            f" {sorted({os.getegid(), *os.getgroups()})} may not write there"
        )
        mend = (
            "let both be one user, or give them a group (kubernetes: fsGroup in the pod template)"
            " and have the folder group-writable: chmod -R g+rwXs"
        )
        return "bad", text, mend
    with temporary(folder.path / "probe") as probe:
        probe.touch(exist_ok=False)
    return _good(f"{folder.path}, {len(plan.grid)} tiles, can be written")


def _same_folder(folder: RunFolder, token: str | None) -> Found:
    if token is None:
        return _good("not asked from elsewhere")
    file, start = _token_file(folder, token), time.monotonic()

    def look() -> bool | None:
        with contextlib.suppress(OSError):
            return file.read_bytes() == token.encode() or None
        return None

    if looked_again(look, file):
        seconds = time.monotonic() - start
        return _good(f"what was written elsewhere is read here after {seconds:.1f} s")
    mend = f"mount the shared folder at {folder.path}, or correct the backend's paths"
    return "bad", "what was written elsewhere is not there", mend


def _other_hosts(folder: RunFolder, hosts: int) -> Found:
    late, allowed = meet(folder.path, hosts), seen_within(folder.path / "file")
    text = "; ".join(f"what {host} writes is seen here after {s:.1f} s" for host, s in late.items())
    if (longest := max(late.values())) > max(allowed, _TOGETHER):
        mend = (
            "mount it with shorter caches (NFS, SMB: -o actimeo=1), or set on all hosts"
            f" {SEEN_WITHIN.name}={ceil(2 * longest)}"
        )
        return "bad", text, mend
    return _good(text)


def _file_system(place: Path) -> list[Row]:
    """What the file system of a place offers, each thing tried."""
    if not place.is_dir():
        lost = f"{place} is no folder"
        return [Row(check="file system", state="bad", found=lost, mend="make it, or correct it")]
    rows = [Row(check="file system", state="good", found=file_system(place))]
    for trial in trials(place):
        lacking: State = "bad" if trial.needed else "note"
        mend = None if trial.works else trial.mend
        state: State = "good" if trial.works else lacking
        rows.append(Row(check=trial.name, state=state, found=trial.found, mend=mend))
    return rows


def _disk(folder: RunFolder) -> Found:
    needed = disk_missing(folder.plan, work_left(folder))
    free = free_bytes(folder.path)
    text = f"{free / 1e9:.1f} GB free, up to {needed / 1e9:.1f} GB needed"
    return _good(text) if needed <= free else ("bad", text, "free some")


def _memory(folder: RunFolder) -> Found:
    needed, there = memory_needed(folder.plan), psutil.virtual_memory().available
    whose, mend = "", "choose smaller tiles"
    left = memory_left()
    if left is not None and left < there:
        there, whose = left, " within the limit of this pod or job"
        mend = "raise that limit (kubernetes: memory in the Variable), or choose smaller tiles"
    text = f"{there / 1e9:.1f} GB available{whose}, {needed / 1e9:.1f} GB for each worker"
    return _good(text) if needed <= there else ("bad", text, mend)


def _classifier(folder: RunFolder) -> Found:
    engine = engine_of(folder.plan, 1)
    return _good(f"{folder.plan.spec.classifier}, engine {engine.name} {engine.version}")


def _volume(folder: RunFolder) -> Found:
    if (folder.path / "volume").is_dir() and not folder.plan.refers:
        return _good("ingested")
    spec = folder.plan.spec
    with open_source(here(spec.volume), spec.placed(here)) as source:
        return _good(f"{source.slices[0]} to {source.slices[-1]}")


def _processor() -> Found:
    flags: set[str] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.split())
                break
    width = next((w for f, w in _WIDTHS.items() if f in flags), "128-bit or unknown")
    return _good(f"{_cores()} cores, {width} vectors (the result is the same on any)")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _mpi() -> Found:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec) if mpiexec.exists() else "mpiexec", "-n", "2", sys.executable, "-c"]
    try:
        done = subprocess.run(  # noqa: S603 - a list, no shell
            [*command, _MPI], capture_output=True, timeout=_MPI_SECONDS, check=False
        )
        if done.returncode == 0:
            return _good("two ranks start")
        said = " ".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:])
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    mend = "only needed if a step is to run by MPI"
    return "note", f"mpiexec does not start two ranks: {said}"[:300], mend


def _token_file(folder: RunFolder, token: str) -> Path:
    return folder.path / "jobs" / f"token-{token}"
