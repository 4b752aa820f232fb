"""Where datasets are registered, and their names: TBSEG_DATASETS, one file NAME.toml for each.

Without the setting it is ``~/.tbseg/datasets``. Nothing heavy is imported here: a form that offers
the names is made anew whenever a DAG is read.
"""

import os
import re
from pathlib import Path

from tbseg_ops.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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


def names() -> tuple[str, ...]:
    """The names of all datasets, sorted, whether their files are right or not.

    OSError if the folder cannot be read; none if there is no folder.
    """
    try:
        entries = [entry.name for entry in registry_folder().iterdir()]
    except FileNotFoundError:
        return ()
    found = (entry.removesuffix(".toml") for entry in entries if entry.endswith(".toml"))
    return tuple(sorted(name for name in found if NAME.fullmatch(name)))
