"""ilastik pixel classifiers: passports (what a classifier is) and engines (which run it)."""

from tbseg_ops.classifier.engine import (
    NATIVE_VERSION,
    Engine,
    EngineName,
    bit_stable,
    check_engine,
    hard_labels,
    load_engine,
)
from tbseg_ops.classifier.passport import Feature, Passport, read_passport

__all__ = [
    "NATIVE_VERSION",
    "Engine",
    "EngineName",
    "Feature",
    "Passport",
    "bit_stable",
    "check_engine",
    "hard_labels",
    "load_engine",
    "read_passport",
]
