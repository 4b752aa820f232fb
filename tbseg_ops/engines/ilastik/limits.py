"""The settings of the engine ``ilastik``: how long, how large, how alone one run may be."""

import os
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import get_args

from tbseg_ops.errors import ConfigError
from tbseg_ops.processes.bounded import Isolation

_TIMEOUT = "TBSEG_ILASTIK_TIMEOUT"
_MEMORY = "TBSEG_ILASTIK_MEMORY_MB"
_ISOLATION = "TBSEG_ILASTIK_ISOLATION"
_LOGS = "TBSEG_ILASTIK_LOGS"

_LEAST_MEMORY_MB = 8192


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run of ilastik.

    seconds: of wall clock; None: by the size of the tile. memory_mb: address space of each process,
    which is a few GB more than the memory it uses. isolation: see ``run_bounded``. log_folder:
    where the complete log of a failed run is kept; None: nowhere, its end is in the error.
    """

    seconds: float | None
    memory_mb: int
    isolation: Isolation
    log_folder: Path | None

    @classmethod
    def from_environment(cls) -> "Limits":
        """By TBSEG_ILASTIK_TIMEOUT, _MEMORY_MB, _ISOLATION, _LOGS. ConfigError for bad values.

        Without them: time by the tile, the memory of the host, isolation where the kernel allows
        it, no logs.
        """
        logs = os.environ.get(_LOGS)
        return cls(
            seconds=_number(_TIMEOUT),
            memory_mb=int(_number(_MEMORY) or max(_host_memory_mb(), _LEAST_MEMORY_MB)),
            isolation=_isolation(os.environ.get(_ISOLATION) or "try"),
            log_folder=Path(logs) if logs else None,
        )

    def seconds_for(self, voxels: int) -> float:
        """The time for a tile: if not set, half an hour and 0.3 ms per voxel.

        ilastik was measured to need up to 0.015 ms per voxel and thread, on a quiet machine.
        """
        return self.seconds or 1800 + 300e-6 * voxels


def _host_memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def _isolation(text: str) -> Isolation:
    for value in get_args(Isolation):
        if value == text:
            return value  # type: ignore[no-any-return]
    raise _bad_setting(_ISOLATION, "try, require or off", text)


def _number(variable: str) -> float | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value >= 1):
        raise _bad_setting(variable, "a number >= 1", text)
    return value


def _bad_setting(variable: str, expected: str, found: str) -> ConfigError:
    return ConfigError(
        f"the setting {variable} makes no sense",
        expected=expected,
        found=found,
        mend=f"correct the environment variable {variable}, or remove it",
    )
