"""Stale handles: a file server was started again, and what was open on it is not known any more.

Opening the file once more mends it. NFS gives ESTALE then; the kernel tries a path again by
itself, but not the reading of an open file.
"""

import errno
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tbseg_ops.storage.commit import errno_of

P = ParamSpec("P")
R = TypeVar("R")


def once_more(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What ``work`` gives, which opens its files itself; called again if one had become stale."""
    try:
        return work(*args, **kwargs)
    except (OSError, RuntimeError) as error:
        if not is_stale(error):
            raise
    return work(*args, **kwargs)


def is_stale(error: BaseException | None) -> bool:
    """Whether an error comes of a stale handle, at first or last hand."""
    while error is not None:
        if isinstance(error, OSError | RuntimeError) and errno_of(error) == errno.ESTALE:
            return True
        error = error.__cause__ or error.__context__
    return False
