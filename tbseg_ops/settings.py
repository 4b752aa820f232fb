"""What a deployment sets by environment variables.

``TBSEG_ROOTS``: folders that may be used, colon-separated; unset: any. Asked wherever a path from
outside is opened (a volume, a slice of it, a classifier) and for each run folder, by each step: no
pattern, link or path of a dataset leads round it.

``TBSEG_PATHS=/data=/mnt/data:/a=/b``: folders that have another name on this machine. A run is
planned with the paths of one machine and worked on by others, which may have mounted the shared
folder elsewhere. The longest folder that matches counts.

``TBSEG_DATASETS``: the folder of the registry, one file NAME.toml for each dataset; unset:
``~/.tbseg/datasets``.

Nothing heavy is imported here: a form that offers names of datasets is made anew whenever a DAG is
read.
"""

import os
import re
from pathlib import Path, PurePosixPath

from tbseg_ops.errors import ConfigError

DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_inside(path: str | os.PathLike[str]) -> None:
    """Refuse a path that lies outside of the allowed folders; symbolic links are resolved first."""
    roots = [Path(root).resolve() for root in os.environ.get("TBSEG_ROOTS", "").split(":") if root]
    if not roots:
        return
    real = Path(path).resolve()
    if not any(real.is_relative_to(root) for root in roots):
        raise ConfigError(
            "the path lies outside of the folders that this deployment may use",
            file=os.fspath(path),
            expected="below " + ", ".join(map(str, roots)),
            found=str(real),
            mend="choose another path, or have TBSEG_ROOTS extended",
        )


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


def registry_folder() -> Path:
    """The folder of the registry, whether it is there or not. ConfigError for a relative one."""
    own = os.path.expanduser("~/.tbseg/datasets")  # noqa: PTH111 - Path's raises without a home
    folder = Path(os.environ.get("TBSEG_DATASETS") or own)
    if not folder.is_absolute():
        raise ConfigError(
            "the folder of the registry is not known",
            expected="TBSEG_DATASETS=/absolute/folder",
            found=str(folder),
            mend="correct the setting",
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
