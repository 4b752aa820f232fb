"""The settings of the engine ``ilastik``: how long, how large, how alone one run may be."""

import os
from dataclasses import dataclass
from pathlib import Path

from tbseg_ops import settings
from tbseg_ops.settings import Isolation

_LEAST_MEMORY_MB = 8192


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run of ilastik.

    seconds: of wall clock for a tile; None: by its size. memory_mb: address space of each process,
    which is a few GB more than the memory it uses. isolation: see ``bounded``. log_folder:
    where the complete log of a failed run is kept; None: nowhere, its end is in the error.
    """

    seconds: float | None
    memory_mb: int
    isolation: Isolation
    log_folder: Path | None

    @classmethod
    def from_environment(cls) -> "Limits":
        """By the settings TBSEG_ILASTIK_... ConfigError for bad values."""
        host_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        return cls(
            seconds=settings.ILASTIK_TIMEOUT.value,
            memory_mb=int(settings.ILASTIK_MEMORY_MB.value or max(host_mb, _LEAST_MEMORY_MB)),
            isolation=settings.ILASTIK_ISOLATION.value or "try",
            log_folder=settings.ILASTIK_LOGS.value,
        )

    def seconds_for(self, voxels: int) -> float:
        """The time for a tile: if not set, half an hour and 0.3 ms per voxel.

        ilastik was measured to need up to 0.015 ms per voxel and thread, on a quiet machine.
        """
        return self.seconds or 1800 + 300e-6 * voxels
