"""The folders that a deployment may use: ``TBSEG_ROOTS``, colon-separated; unset: any.

Asked wherever a path from outside is opened (a volume, a slice of it, a classifier) and for each
run folder, by each step: no pattern, link or path of a dataset leads round it.
"""

import os
from pathlib import Path

from tbseg_ops.errors import ConfigError


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
