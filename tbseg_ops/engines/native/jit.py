"""Compiling kernels with numba, and keeping the machine code between processes.

numba's disk cache looks at the file of the compiled function only: after a change in an imported
helper it would go on with the old code. So the cache lies in a folder named by the digest of all
sources of this package. Where no folder can be written (a read-only container) kernels are
compiled anew in each process.

Images bring kernels along (``ahead.py``), for levels of processors instead of one processor: what
starts there on an empty disk takes a copy of those of the highest level that its processor has.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from llvmlite.binding import get_host_cpu_features
from numba import config, njit
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys
from numba.extending import intrinsic

_F = TypeVar("_F", bound=Callable[..., Any])
SHIPPED = "kernels"  # the folder, beside this module, of kernels that came with an image
# As the compiler names them, and what a processor of the level has; the highest one first. Below
# them there is no fused multiply-add: so slow that nobody brings kernels along for it.
_HASWELL = frozenset({"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"})
LEVELS = {
    "x86-64-v4": _HASWELL | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86-64-v3": _HASWELL,
}
KERNELS: list[Any] = []  # all that ``compiled`` made
_CONFIG: Any = config  # its names are unknown to numba's own type stubs


def _name() -> str:
    """Of a folder of kernels; it changes with the sources."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return f"tbseg-kernels-{digest.hexdigest()[:16]}"


def _shipped(name: str) -> tuple[Path, str] | None:
    """The kernels that came along, if they are of these sources, and the level to use."""
    folder = Path(__file__).parent / SHIPPED / name
    level = highest_level() if _CONFIG.CPU_NAME is None and folder.is_dir() else None
    return None if level is None else (folder, level)


def highest_level() -> str | None:
    """Of those that this processor has."""
    has = {feature for feature, there in get_host_cpu_features().items() if there}
    return next((level for level, needed in LEVELS.items() if needed <= has), None)


def _cache_folder(name: str, shipped: Path | None) -> Path | None:
    """The first folder that this user can write; a new one begins as a copy of ``shipped``."""
    own = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for parent in [Path(own)] if own else [Path(__file__).parent / "__pycache__", home]:
        folder = parent / name
        try:
            if shipped is not None and not folder.exists():
                _copy(shipped, folder)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return None


def _copy(shipped: Path, folder: Path) -> None:
    """All of it or nothing; of several processes that start at once the first one's stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as made:
        copied = shutil.copytree(shipped, Path(made) / "all", copy_function=shutil.copyfile)
        with contextlib.suppress(OSError):
            copied.rename(folder)


_NAME = _name()
_SHIPPED = _shipped(_NAME)
_FOLDER = _cache_folder(_NAME, _SHIPPED[0] if _SHIPPED else None)
if _FOLDER is not None:
    _CONFIG.CACHE_DIR = str(_FOLDER)
    if _SHIPPED is not None:
        _CONFIG.CPU_NAME, _CONFIG.CPU_FEATURES = _SHIPPED[1], ""  # the features are the level's


def _kept(function: Callable[..., Any]) -> Any:
    """numba's cache on disk, but it loads machine code without all that compiles any.

    numba's own imports whatever it can compile before it looks: 0.2 s of each process. Where
    nothing is found the compiler imports it all the same.
    """
    cache = cast(Any, FunctionCache)(function)

    def load_overload(signature: Any, target: Any) -> Any:
        cast(Any, rtsys).initialize(target)  # what machine code itself needs of numba
        with cache._guard_against_spurious_io_errors():
            return cache._load_overload(signature, target)

    cache.load_overload = load_overload
    return cache


def compiled(function: _F) -> _F:
    """``function`` as machine code that runs without the GIL; no fastmath, no bounds checks."""
    kernel: Any = njit(nogil=True, error_model="numpy")(function)
    if _FOLDER is not None:
        kernel._cache = _kept(function)  # as with cache=True
    KERNELS.append(kernel)
    return cast(_F, kernel)


def inlined(function: _F) -> _F:
    """``function`` to be called from compiled ones and always merged into them."""
    return cast(_F, njit(forceinline=True, error_model="numpy")(function))


def emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` gives the LLVM code that compiled ones run where they call it."""
    return cast(Callable[..., Any], intrinsic(function))
