"""Which hosts there are: the Airflow Variable ``tbseg_ssh``; how each is reached: a Connection."""

import contextlib
import json
from typing import Annotated, Any

import asyncssh
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from tbseg_airflow.backends.variable import read
from tbseg_ops import pipeline

VARIABLE = "tbseg_ssh"
_CORES = 16  # of a host that nobody has asked yet
# TBSEG_PATHS joins them with ":" and "=".
Folder = Annotated[str, StringConstraints(pattern=r"^/[^:=\n]*$")]
MpiStep = Annotated[str, AfterValidator(lambda name: pipeline.known(name, pipeline.mpi()))]
ConnId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]


class MpiSettings(BaseModel):
    """Steps that run as one MPI job: ``ranks`` on each host that can be reached when it starts.

    ``options`` are further arguments of MPICH's mpiexec, such as ["-iface", "eth0"]. It reaches the
    hosts by their own ``ssh``, from the first of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: tuple[MpiStep, ...] = ("merge",)
    ranks: int = Field(1, ge=1, le=1024)
    options: tuple[str, ...] = ()
    # UCX's default transports wait for an answer that never comes between some hosts.
    environment: dict[str, str] = Field(default_factory=lambda: {"UCX_TLS": "tcp,self"})


class SshSettings(BaseModel):
    """The Variable's JSON.

    ``hosts``: ids of Connections. ``lease``: seconds for which a job runs on while nobody can ask
    for it, and after which its tiles are given to another host. ``seconds``: the most that one may
    take. ``paths``: folders as Airflow sees them, and as the hosts do. ``mpi``: steps that run as
    one job over all hosts; none if left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hosts: tuple[ConnId, ...] = Field(min_length=1)
    lease: float = Field(120.0, ge=5, le=86_400)
    seconds: float = Field(86_400.0, gt=0)
    paths: dict[Folder, Folder] = {}
    mpi: MpiSettings | None = None


def settings() -> SshSettings:
    """The settings of this deployment; StepRefused if they are missing or wrong."""
    return read(VARIABLE, SshSettings, '{"hosts": ["ids", "of", "connections"]}')


class HostOptions(BaseModel):
    """What the extra of a Connection may say of its host.

    ``slots``: jobs at a time, by default one a core. ``tbseg``: the program there. ``launcher``:
    what stands before it, such as ["srun", "--ntasks=1", "--cpus-per-task=4"].
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    slots: int | None = Field(default=None, ge=1, le=10_000)
    tbseg: str = "tbseg"
    launcher: tuple[str, ...] = ()


def most_slots() -> int:
    """Jobs at a time on all hosts, as the Connections say it; of one that does not, a guess."""
    found = []
    for name in settings().hosts:
        with contextlib.suppress(HostRefusedError, AirflowNotFoundException):
            found.append(options_of(Connection.get(name)).slots or _CORES)
    return max(1, sum(found))


class HostRefusedError(Exception):
    """A host that cannot be used whatever the network does: wrong key, log-in or settings."""


def options_of(connection: Connection) -> HostOptions:
    """HostRefusedError if the extra is wrong."""
    try:
        return HostOptions.model_validate(_extra(connection))
    except ValidationError as error:
        wrong = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())
        raise HostRefusedError(f"the extra of the connection is wrong: {wrong}") from None


def arguments_of(connection: Connection) -> dict[str, Any]:
    """The arguments of ``asyncssh.connect``. The key of the host is checked in any case."""
    extra = _extra(connection)
    if str(extra.get("no_host_key_check", "false")).lower() == "true":
        raise HostRefusedError(
            "host keys are always checked: remove no_host_key_check, give host_key"
        )
    port = connection.port or 22
    arguments: dict[str, Any] = {"host": connection.host, "port": port}
    if connection.login:
        arguments["username"] = connection.login
    if connection.password:
        arguments["password"] = connection.password
    try:
        if extra.get("private_key"):
            key = asyncssh.import_private_key(
                extra["private_key"], extra.get("private_key_passphrase")
            )
            arguments["client_keys"] = [key]
        elif extra.get("key_file"):
            key = asyncssh.read_private_key(extra["key_file"], extra.get("private_key_passphrase"))
            arguments["client_keys"] = [key]
        if extra.get("host_key"):
            name = connection.host if port == 22 else f"[{connection.host}]:{port}"
            arguments["known_hosts"] = asyncssh.import_known_hosts(f"{name} {extra['host_key']}\n")
    except (asyncssh.KeyImportError, OSError, ValueError) as error:
        raise HostRefusedError(f"a key in the connection cannot be read: {error}") from None
    return arguments


def _extra(connection: Connection) -> dict[str, Any]:
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise HostRefusedError("the extra of the connection is no JSON object")
    return extra
