"""Folders that have another name on this machine: ``TBSEG_PATHS=/data=/mnt/data:/a=/b``.

A run is planned with the paths of one machine and worked on by others, which may have mounted the
shared folder elsewhere. The longest folder that matches counts.
"""

import os
from pathlib import PurePosixPath

from tbseg_ops.errors import ConfigError


def here(path: str) -> str:
    """``path`` as this machine names it; as it is if no folder of the setting holds it.

    ConfigError if the setting is not a list of pairs of absolute folders.
    """
    best: tuple[PurePosixPath, PurePosixPath] | None = None
    whole = PurePosixPath(path)
    for pair in filter(None, os.environ.get("TBSEG_PATHS", "").split(":")):
        there, equals, ours = pair.partition("=")
        if not (equals and there.startswith("/") and ours.startswith("/")):
            raise ConfigError(
                "TBSEG_PATHS is wrong",
                expected="/folder/there=/folder/here, several of them with ':' between",
                found=pair,
            )
        folder = PurePosixPath(there)
        longer = best is None or len(folder.parts) > len(best[0].parts)
        if whole.is_relative_to(folder) and longer:
            best = folder, PurePosixPath(ours)
    return path if best is None else str(best[1] / whole.relative_to(best[0]))
