"""The names of registered datasets, for forms: cheap enough to be asked whenever a DAG is read."""

import contextlib

from tbseg_ops.errors import ConfigError
from tbseg_ops.settings import dataset_names


def registered() -> list[str]:
    """All names; none if the registry cannot be read, which a form must survive."""
    with contextlib.suppress(OSError, ConfigError):
        return list(dataset_names())
    return []
