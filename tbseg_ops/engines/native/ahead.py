"""``python -m tbseg_ops.engines.native.ahead``: kernels are compiled where an image is built.

A pod starts on an empty disk: it would compile for 12 s of a core what it then uses for a tile of
one second. The kernels are put beside the package, where ``jit.py`` finds them, for each level of
processors, whatever processor builds the image.
"""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.forests import Forest
from tbseg_ops.classifier.passport import Feature
from tbseg_ops.geometry import Box

# What uses numba is imported by the process that compiles, once its environment says for whom.

_FEATURES = (
    *(gaussians.SMOOTHING, gaussians.LAPLACIAN, gaussians.GRADIENT_MAGNITUDE),
    *(gaussians.DIFFERENCE, gaussians.STRUCTURE_TENSOR, gaussians.HESSIAN),
)
Signatures = dict[str, list[Any]]
"""By name of a kernel: the types of arguments that it is called with."""


def exercise() -> Signatures:
    """Call each kernel in every way in which the engine calls it; what they were called with."""
    from tbseg_ops.engines.native.features.bricks import BrickFeatures
    from tbseg_ops.engines.native.forest.bricks import BrickForest

    shape = (8, 8, 8)
    raw = np.arange(512, dtype=np.uint8).reshape(*shape, 1)
    for in_2d in (False, True):
        features = tuple(Feature(id=name, scale=1.6, in_2d=in_2d) for name in _FEATURES)
        for _ in BrickFeatures(features, 1).slabs(raw, Box((0, 0, 0), shape)):
            pass
    one, none = np.array([-1], np.int32), np.empty(0, np.int32)
    for share in (1.0, 0.5):  # a leaf that is pure, and one that is not
        leaf = np.array([[1 - share, share]], np.float32)
        threshold = np.empty(0, np.float32)
        tree = Forest(1, one, none, threshold, none, none, leaf, np.zeros(1, np.int32))
        forest, bricks = BrickForest((tree,)), np.zeros((1, 1, 64), np.float32)
        forest.predict(bricks)
        forest.winners(bricks)
    return called_with()


def called_with() -> Signatures:
    """What the kernels of this process were called with so far."""
    from tbseg_ops.engines.native.jit import KERNELS

    return {_name(kernel): list(kernel.signatures) for kernel in KERNELS}


def compile_for(signatures: Signatures) -> None:
    """Compile, and run nothing: this processor may be of a lower level."""
    import tbseg_ops.engines.native.engine  # noqa: F401 - makes the kernels
    from tbseg_ops.engines.native.jit import KERNELS

    for kernel in KERNELS:
        for signature in signatures[_name(kernel)]:
            kernel.compile(signature)


def _name(kernel: Any) -> str:
    return f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}"


def _elsewhere(work: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """The result of ``work`` in a new process: numba reads its environment once."""
    os.environ.update(environment)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main() -> None:
    with tempfile.TemporaryDirectory() as unused:
        signatures = _elsewhere(exercise, NUMBA_CACHE_DIR=unused)
        from tbseg_ops.engines.native.jit import LEVELS, SHIPPED
    folder = Path(__file__).parent / SHIPPED
    for level in LEVELS:
        settings = {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
        _elsewhere(compile_for, signatures, NUMBA_CACHE_DIR=str(folder), **settings)


if __name__ == "__main__":
    main()
