"""Compiling kernels with numba, and keeping the machine code between processes.

numba's disk cache looks at the file of the compiled function only: after a change in an imported
helper it would go on with the old code. So the cache lies in a folder named by the digest of all
sources of this package. Where no folder can be written (a read-only container) kernels are
compiled anew in each process.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import config, njit
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])


def _cache_folder() -> Path | None:
    """The first folder that this user can write; its name changes with the sources."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(here.rglob("*.py")):
        digest.update(source.read_bytes())
    name = f"tbseg-kernels-{digest.hexdigest()[:16]}"
    own = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for parent in [Path(own)] if own else [here / "__pycache__", home]:
        folder = parent / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


_FOLDER = _cache_folder()
if _FOLDER is not None:
    setattr(config, "CACHE_DIR", str(_FOLDER))  # noqa: B010 - unknown to numba's own type stubs


def compiled(function: _F) -> _F:
    """``function`` as machine code that runs without the GIL; no fastmath, no bounds checks."""
    cache = _FOLDER is not None
    return cast(_F, njit(cache=cache, nogil=True, error_model="numpy")(function))


def inlined(function: _F) -> _F:
    """``function`` to be called from compiled ones and always merged into them."""
    return cast(_F, njit(forceinline=True, error_model="numpy")(function))


def emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` gives the LLVM code that compiled ones run where they call it."""
    return cast(Callable[..., Any], intrinsic(function))
