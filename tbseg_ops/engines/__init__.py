"""What turns the voxels of a tile into classes: the engine ``native``, or ilastik itself."""

from tbseg_ops.engines.choose import check_engine, load_engine
from tbseg_ops.engines.contract import (
    NATIVE_VERSION,
    ClassifierChangedError,
    Engine,
    at_once,
    bit_stable,
    hard_labels,
)

__all__ = [
    "NATIVE_VERSION",
    "ClassifierChangedError",
    "Engine",
    "at_once",
    "bit_stable",
    "check_engine",
    "hard_labels",
    "load_engine",
]
