"""``python -m tbseg_ops.engines.native.ahead``: kernels are compiled where an image is built.

A pod starts on an empty disk: it would compile for 12 s of a core what it then uses for a tile of
one second. The kernels are put beside the package, where ``kernels.py`` finds them, for each level
of processors, whatever processor builds the image.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from tbseg_ops.engines.native.kernels import KERNELS, LEVELS, SHIPPED, write

MODULES = ("tbseg_ops.engines.native.engine", "tbseg_ops.run.rows")
"""With these all kernels are known."""


def compile_all(folder: Path) -> None:
    """Compile all kernels, and run none: this processor may be of a lower level."""
    for name in MODULES:
        import_module(name)
    for kernel in KERNELS:
        write(kernel.compiled(), kernel.path(folder))


def main() -> None:
    os.environ["NUMBA_CPU_FEATURES"] = ""  # those of the level
    for level in LEVELS:
        os.environ["NUMBA_CPU_NAME"] = level
        # A process for each: numba reads its environment once.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(compile_all, SHIPPED / level).result()


if __name__ == "__main__":
    main()
