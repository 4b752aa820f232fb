"""What a step gives back: paths and counts, never lists of tiles."""

from collections.abc import Callable

from tbseg_ops.run.finish import Done
from tbseg_ops.run.model import Stored

# Called with (piece, what happened, pieces done, pieces in all).
Progress = Callable[[str, str, int, int], None]


class StepResult(Stored):
    """Counts of one step; ``file`` is the result's path where the step makes one for the volume."""

    step: str
    computed: int
    reused: int
    seconds: float
    file: str | None = None


def silent(piece: str, what: str, done: int, total: int) -> None:
    """A Progress that says nothing."""


def told(done: Done) -> str:
    """A few words about a finished piece."""
    if not done.computed:
        return "already done"
    again = f", attempt {done.record.attempts}" if done.record.attempts > 1 else ""
    return f"computed in {done.record.seconds:.2f} s{again}"
