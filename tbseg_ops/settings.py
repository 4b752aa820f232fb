"""What a deployment sets by environment variables: all of them, each declared once.

``tbseg doctor`` prints those that are set. An empty one counts as not set.

Nothing heavy is imported here: a form that offers names of datasets is made anew whenever a DAG is
read.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Generic, Literal, TypeVar, get_args

from tbseg_ops.errors import ConfigError

DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Isolation = Literal["try", "require", "off"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """An environment variable, and what it means.

    ``expected``: what it may hold; ``unset``: what counts without it; ``read`` makes a value of its
    text, and raises ValueError if it makes no sense.
    """

    name: str
    meaning: str
    expected: str
    unset: str
    read: Callable[[str], T]

    @property
    def text(self) -> str:
        """As it is in the environment; "" if it is not set."""
        return os.environ.get(self.name, "")

    @property
    def value(self) -> T | None:
        """What is set, or None. ConfigError if it makes no sense."""
        try:
            return self.read(self.text) if self.text else None
        except ValueError:
            raise ConfigError(
                f"the setting {self.name} makes no sense",
                expected=f"{self.expected}: {self.meaning}",
                found=self.text,
                mend=f"correct the environment variable {self.name}, or remove it",
            ) from None


def _number(text: str, least: float = 1) -> float:
    value = float(text)
    if not (isfinite(value) and value >= least):
        raise ValueError
    return value


def _folders(text: str) -> list[Path]:
    return [Path(folder) for folder in text.split(":") if folder]


def _pairs(text: str) -> list[tuple[PurePosixPath, PurePosixPath]]:
    pairs = [pair.partition("=") for pair in text.split(":") if pair]
    if not all(there.startswith("/") and ours.startswith("/") for there, _, ours in pairs):
        raise ValueError
    return [(PurePosixPath(there), PurePosixPath(ours)) for there, _, ours in pairs]


def _isolation(text: str) -> Isolation:
    for word in get_args(Isolation):
        if word == text:
            return word  # type: ignore[no-any-return]
    raise ValueError


_NUMBER = "a number >= 1"

ROOTS = Setting(
    "TBSEG_ROOTS",
    "folders that may be used: no pattern, link or path of a dataset leads round them",
    "folders, several of them with ':' between",
    "any",
    _folders,
)
PATHS = Setting(
    "TBSEG_PATHS",
    "folders that have another name on this machine than where the run was planned",
    "/folder/there=/folder/here, several of them with ':' between",
    "none",
    _pairs,
)
DATASETS = Setting(
    "TBSEG_DATASETS",
    "the registry: one file NAME.toml for each dataset",
    "a folder",
    "~/.tbseg/datasets",
    Path,
)
JOBS = Setting(
    "TBSEG_JOBS",
    "where this host keeps the jobs that it was given by ssh",
    "a folder on a disk of this host",
    "/var/tmp/tbseg-UID/HOST",  # noqa: S108 - its owner and mode are checked
    Path,
)
SEEN_WITHIN = Setting(
    "TBSEG_SEEN_WITHIN",
    "seconds within which this host sees what another one wrote to a network file system",
    "a number >= 0",
    "10",
    partial(_number, least=0),
)
ILASTIK = Setting(
    "TBSEG_ILASTIK",
    "the program of the engine ilastik",
    "a program, the folder of an installation, or a command",
    "run_ilastik.sh or ilastik on the PATH",
    str.strip,
)
ILASTIK_TIMEOUT = Setting(
    "TBSEG_ILASTIK_TIMEOUT",
    "seconds for one tile",
    _NUMBER,
    "1800 + 0.0003 per voxel of the tile",
    _number,
)
ILASTIK_MEMORY_MB = Setting(
    "TBSEG_ILASTIK_MEMORY_MB",
    "address space of each process of ilastik: a few GB more than the memory in use",
    _NUMBER,
    "the memory of the host, at least 8192",
    _number,
)
ILASTIK_ISOLATION = Setting(
    "TBSEG_ILASTIK_ISOLATION",
    "whether ilastik is cut off the network",
    "try, require or off",
    "try",
    _isolation,
)
ILASTIK_LOGS = Setting(
    "TBSEG_ILASTIK_LOGS",
    "where the complete logs of ilastik's failures are kept",
    "a folder",
    "nowhere: their ends are in the errors",
    Path,
)
START_SECONDS = Setting(
    "TBSEG_START_SECONDS", "how long `make up` waits for Airflow", _NUMBER, "300", _number
)
REPROCESS_SCHEDULE = Setting(
    "TBSEG_REPROCESS_SCHEDULE",
    "when Airflow looks at all datasets (UTC)",
    "a cron expression",
    "0 2 * * *",
    str,
)
PAUSE = Setting(
    "TBSEG_PAUSE", "tests only: where a process stops", "point:part-of-file-name", "nowhere", str
)
PAUSE_FLAG = Setting(
    "TBSEG_PAUSE_FLAG", "tests only: the file that a stopped process makes", "a file", "none", Path
)

SETTINGS: tuple[Setting[object], ...] = tuple(
    setting for setting in vars().values() if isinstance(setting, Setting)
)


_kept: set[Path] = set()  # folders that must stay inside


def check_inside(path: str | os.PathLike[str]) -> None:
    """Refuse a path that lies outside of the allowed folders; symbolic links are resolved first.

    Asked wherever a path from outside is opened (a volume, a slice of it, a classifier) and for
    each run folder, by each step.
    """
    if ROOTS.value:
        _check_inside(Path(path).resolve(), path)


def check_opened(descriptor: int, path: str | os.PathLike[str]) -> None:
    """The same of what is open, whatever ``path`` leads to by now.

    Between the check of a path and its opening somebody may exchange a link in it.
    """
    if ROOTS.value:
        _check_inside(Path(f"/proc/self/fd/{descriptor}").readlink(), path)


def keep_inside(folder: Path) -> None:
    """``check_inside`` of a folder, and again of what is written there: see ``check_kept``."""
    check_inside(folder)
    _kept.add(folder.absolute())


def check_kept(descriptor: int, folder: Path) -> None:
    """``check_opened`` of a folder, if it is below one that is kept inside.

    Others (the registry, the jobs of a host) lie where the deployment has put them.
    """
    if ROOTS.value:
        whole = folder.absolute()
        if not _kept.isdisjoint((whole, *whole.parents)):
            check_opened(descriptor, folder)


def _check_inside(real: Path, path: str | os.PathLike[str]) -> None:
    roots = [root.resolve() for root in ROOTS.value or ()]
    if not any(real.is_relative_to(root) for root in roots):
        raise ConfigError(
            "the path lies outside of the folders that this deployment may use",
            file=os.fspath(path),
            expected="below " + ", ".join(map(str, roots)),
            found=str(real),
            mend=f"choose another path, or have {ROOTS.name} extended",
        )


def here(path: str) -> str:
    """``path`` as this machine names it; as it is if no folder of ``PATHS`` holds it.

    A run is planned with the paths of one machine and worked on by others, which may have mounted
    the shared folder elsewhere. The longest folder that matches counts.
    """
    whole = PurePosixPath(path)
    pairs = [pair for pair in PATHS.value or () if whole.is_relative_to(pair[0])]
    if not pairs:
        return path
    there, ours = max(pairs, key=lambda pair: len(pair[0].parts))
    return str(ours / whole.relative_to(there))


def registry_folder() -> Path:
    """The folder of the registry, whether it is there or not. ConfigError for a relative one."""
    own = os.path.expanduser(DATASETS.unset)  # noqa: PTH111 - Path's raises without a home
    folder = DATASETS.value or Path(own)
    if not folder.is_absolute():
        raise ConfigError(
            "the folder of the registry is not known",
            expected=f"{DATASETS.name}=/absolute/folder",
            found=str(folder),
            mend=f"set {DATASETS.name} to the absolute path of a folder, or remove it",
        )
    return folder


def dataset_names() -> tuple[str, ...]:
    """The names of all datasets, sorted, whether their files are right or not.

    OSError if the folder cannot be read; none if there is no folder.
    """
    try:
        entries = [entry.name for entry in registry_folder().iterdir()]
    except FileNotFoundError:
        return ()
    found = (entry.removesuffix(".toml") for entry in entries if entry.endswith(".toml"))
    return tuple(sorted(name for name in found if DATASET_NAME.fullmatch(name)))
