"""Hours and bytes as people read them."""

from tbseg_ops.forecast.model import Range


def duration(hours: float) -> str:
    """Hours in words, in a unit that suits."""
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if hours * 3600 >= 2 * seconds:
            return f"{hours * 3600 / seconds:.1f} {unit}"
    return f"{hours * 3600:.1f} s"


def between(hours: Range) -> str:
    return f"{duration(hours.low)} to {duration(hours.high)}"


def size(number: float) -> str:
    """Bytes, in a unit that suits."""
    for unit, each in (("TB", 1e12), ("GB", 1e9)):
        if number >= each:
            return f"{number / each:.2f} {unit}"
    return f"{number / 1e6:.1f} MB"
