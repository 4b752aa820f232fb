"""Types of numbers that files hold, and what they are read as.

ilastik computes its features from the values as float32, whatever their type is: so any type is
taken with the values that it gives them.
"""

from tbseg_ops.volume.source import VoxelType

_SAME: dict[str, VoxelType] = {
    **{"uint8": "uint8", "uint16": "uint16", "float32": "float32"},
    "bool": "uint8",
}
_AS_FLOAT = ("int8", "int16", "int32", "int64", "uint32", "uint64", "float16", "float64")
EXPECTED = "whole numbers or floating point numbers of at most 64 bits"


def read_as(stored: str) -> VoxelType | None:
    """What values of numpy's type ``stored`` are read as; None if they cannot be classified."""
    return "float32" if stored in _AS_FLOAT else _SAME.get(stored)


def note_of(stored: str) -> tuple[str, ...]:
    """What is to be said of values of that type, if anything."""
    if stored in _AS_FLOAT:
        return (f"values of type {stored} are taken as float32, as ilastik takes them",)
    return ("values are true or false: they are taken as 1 and 0",) if stored == "bool" else ()
