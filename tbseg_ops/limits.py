"""Sizes that a file may declare, checked before anything is decoded.

A 52 kB TIFF can declare 400 MB. The memory that one decoded slice takes is bounded absolutely; for
the volume as a whole, what is declared must be in proportion to what is stored. The proportion is
not asked of single slices: in a real stack, empty slices shrink to almost nothing, and since all
slices of a volume have the same shape they decode to no more than the others.
"""

from tbseg_ops.errors import InputError

MAX_SLICE_BYTES = 8 * 2**30
"""65,536 x 65,536 voxels of uint16."""

MAX_SLICES = 2**20
"""A metre of brain in micrometres; each slice has a name and a fingerprint of its own."""

MAX_EXPANSION = 1000
"""About what deflate and LZW reach on a volume in which all bytes are the same."""

ALWAYS_FINE = 64 * 2**20
"""A declared size that no machine minds."""


def check_slice_bytes(declared: int, where: str) -> None:
    """InputError if one slice takes more than MAX_SLICE_BYTES when decoded."""
    if declared > MAX_SLICE_BYTES:
        raise InputError(
            "a slice declares too many voxels",
            file=where,
            expected=f"at most {MAX_SLICE_BYTES} bytes per slice",
            found=f"{declared} bytes",
            mend="crop the slices",
        )


def check_slices(declared: int, where: str) -> None:
    """InputError if there are more than MAX_SLICES slices."""
    if declared > MAX_SLICES:
        raise InputError(
            "the volume declares too many slices",
            file=where,
            expected=f"at most {MAX_SLICES} slices",
            found=declared,
            mend="check the order of the axes",
        )


def check_expansion(declared: int, stored: int, where: str) -> None:
    """InputError if ``declared`` bytes are promised out of far too few ``stored`` ones."""
    if declared > ALWAYS_FINE and declared > MAX_EXPANSION * stored:
        raise InputError(
            "far more voxels are declared than the stored bytes can hold",
            file=where,
            expected=f"at most {MAX_EXPANSION} times the stored bytes",
            found=f"{declared} bytes declared, {stored} stored",
            mend="if all voxels are really equal, write them without compression",
        )
