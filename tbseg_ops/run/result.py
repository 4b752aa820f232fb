"""What a step gives back: paths and counts, never lists of tiles."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tbseg_ops.run.finish import Done, How
from tbseg_ops.stored import Stored

# Called with (piece, what happened, pieces done, pieces in all).
Progress = Callable[[str, str, int, int], None]


class StepResult(Stored):
    """Counts of one step; ``file`` is the result's path where the step makes one for the volume.

    ``reused`` are all pieces that were not computed; among them ``taken`` over from earlier runs,
    and ``derived`` from what was computed earlier.
    """

    step: str
    computed: int
    reused: int
    taken: int = 0
    derived: int = 0
    seconds: float
    file: str | None = None


def counted(step: str, hows: Counter[How], seconds: float, file: str | None = None) -> StepResult:
    """The result of a step over pieces that were finished so."""
    return StepResult(
        step=step,
        computed=hows["computed"],
        reused=hows.total() - hows["computed"],
        taken=hows["taken"],
        derived=hows["derived"],
        seconds=round(seconds, 3),
        file=file,
    )


def silent(piece: str, what: str, done: int, total: int) -> None:
    """A Progress that says nothing."""


def told(done: Done) -> str:
    """A few words about a finished piece."""
    if done.how == "here":
        return "already done"
    if done.how == "taken":
        return f"taken over from {Path(done.record.origin).name}"
    if done.how == "derived":
        return f"derived from its labels in {done.record.seconds:.2f} s"
    again = f", attempt {done.record.attempts}" if done.record.attempts > 1 else ""
    return f"computed in {done.record.seconds:.2f} s{again}"
