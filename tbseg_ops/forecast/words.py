"""A forecast in words: for terminals, logs and the question whether a run may go on."""

from tbseg_ops.forecast.model import Forecast, Range


def summary(found: Forecast) -> list[str]:
    """A forecast in a few lines for people."""
    return [
        f"{'':9} {'pieces':>8} {'expected':>10}   nine times out of ten",
        *(
            f"{step.step:9} {step.pieces:8,} {duration(step.hours.expected):>10}   "
            f"{between(step.hours):24} {step.basis}"
            for step in found.steps
        ),
        f"{'in all':9} {'':8} {duration(found.hours.expected):>10}   {between(found.hours)}",
        f"{'disk':9} {'':8} {size(found.disk.expected):>10}   "
        f"{size(found.disk.low)} to {size(found.disk.high)}",
        f"{'memory':9} {'':8} {size(found.memory):>10}   for each of {found.workers} worker(s)",
    ]


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
    return f"{number / 1e6:.1f} MB" if number >= 1e5 or not number else f"{number / 1e3:.1f} kB"
