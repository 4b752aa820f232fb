"""Voxel sizes, in the spellings of the programs that write them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

_MICROMETRE = {
    "um",
    "\N{MICRO SIGN}m",
    "\N{GREEK SMALL LETTER MU}m",
    "micron",
    "microns",
    "micrometer",
    "micrometre",
    r"\u00b5m",
}
_NO_UNIT = {"", "pixel", "pixels", "inch", "none", "null"}

# To micrometres; the units that OME's schema allows and a microscope may write, and the words for
# some that OME-Zarr and N5 use.
_IN_MICROMETRES = {
    "pm": 1e-6,
    "\N{ANGSTROM SIGN}": 1e-4,
    "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}": 1e-4,
    "nm": 1e-3,
    "um": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    **{"angstrom": 1e-4, "nanometer": 1e-3, "millimeter": 1e3, "meter": 1e6},
}


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Size in (z, y, x) and its unit; both None if unknown, ``unit`` alone if only that is."""

    size: tuple[float, float, float] | None = None
    unit: str | None = None


UNKNOWN = VoxelSize()


def normal_unit(unit: str) -> str | None:
    """ "um" for all spellings of micrometre, None for "pixel" and the like, else as it is."""
    unit = unit.strip()
    if unit.lower() in _MICROMETRE:
        return "um"
    return None if unit.lower() in _NO_UNIT else unit


def voxel_size(sizes: Sequence[object], unit: str | None) -> VoxelSize:
    """UNKNOWN unless ``sizes`` (z, y, x) are three finite numbers above zero."""
    try:
        z, y, x = (float(size) for size in sizes)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return UNKNOWN
    if not all(isfinite(size) and size > 0 for size in (z, y, x)):
        return UNKNOWN
    return VoxelSize((z, y, x), unit)


def in_micrometres(sizes: Sequence[object], units: Sequence[str]) -> VoxelSize:
    """Sizes (z, y, x) with a unit each, as OME has them; UNKNOWN if one cannot be converted."""
    factors = [_IN_MICROMETRES.get(normal_unit(unit) or "") for unit in units]
    plain = voxel_size(sizes, None)
    if plain.size is None or None in factors:
        return UNKNOWN
    return voxel_size([s * (f or 0) for s, f in zip(plain.size, factors, strict=True)], "um")
