"""How a step goes through its pieces, and what it gives back: counts, never lists of tiles."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

from tbseg_ops.processes.team import Alone, Team
from tbseg_ops.run.done import How
from tbseg_ops.run.finish import Finished
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.storage.stale import is_stale
from tbseg_ops.stored import Stored

P = TypeVar("P")
# Called with (piece, what happened, pieces done, pieces in all).
Progress = Callable[[str, str, int, int], None]


class StepResult(Stored):
    """Counts of one step; ``file`` is the result's path where the step makes one for the volume.

    ``reused`` are all pieces that were not computed; among them ``taken`` over from earlier runs,
    and ``derived`` from what was computed earlier. ``helped``: tiles of other batches that were
    finished beside; they are in no other count, nor in ``seconds``.
    """

    step: str
    computed: int
    reused: int
    taken: int = 0
    derived: int = 0
    seconds: float
    file: str | None = None
    helped: int | None = None


def work_through(
    step: str,
    folder: RunFolder,
    shares: Sequence[P],
    work: Callable[[P], Iterable[Finished]],
    team: Team | None,
    progress: Progress,
    pieces: int | None = None,
    *,
    short: bool = False,
) -> StepResult:
    """Have ``team`` (None: this process) finish all pieces, in whatever order.

    A share is one piece, or several of so many ``pieces`` in all. ``work`` and ``shares`` go to
    other processes: small to pickle. ``short``: as in ``Team.map``.
    """
    start, team = time.perf_counter(), team or Alone()
    hows: Counter[How] = Counter()
    with folder.swept(team.is_root), closing(_each(team, work, shares, short)) as finished:
        for done in finished:
            hows[done.how] += 1
            progress(done.record.name, str(done), hows.total(), pieces or len(shares))
    return StepResult(
        step=step,
        computed=hows["computed"],
        reused=hows.total() - hows["computed"],
        taken=hows["taken"],
        derived=hows["derived"],
        seconds=round(time.perf_counter() - start, 3),
    )


def _each(
    team: Team, work: Callable[[P], Iterable[Finished]], shares: Sequence[P], short: bool
) -> Generator[Finished, None, None]:
    """One by one: from this process as they come, from another one all of a share at its end."""
    doing = _one_by_one if isinstance(team, Alone) else _all
    for share in team.map(partial(doing, work), shares, short=short):
        yield from share


def _one_by_one(work: Callable[[P], Iterable[Finished]], share: P) -> Iterator[Finished]:
    """Those of a share as they come; it goes on with the others if a file had become stale."""
    done = set()
    try:
        for finished in work(share):
            done.add(finished.record.name)
            yield finished
    except (OSError, RuntimeError) as error:
        if not is_stale(error):
            raise
        yield from (f for f in work(share) if f.record.name not in done)


def _all(work: Callable[[P], Iterable[Finished]], share: P) -> list[Finished]:
    return list(work(share))


def silent(piece: str, what: str, done: int, total: int) -> None:
    """A Progress that says nothing."""
