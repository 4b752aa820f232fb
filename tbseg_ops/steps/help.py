"""After a batch: tiles of others that nobody has begun, so that no fast host waits for a slow one.

When no batch waits in a queue any more, whoever is done takes tiles of the batch that has most
left, one at a time from its end, while its owner goes on from the front. Both look at the records
before each tile: at most one tile for each helper is computed twice, and the first commit wins.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tbseg_ops.run import Alone, Team
from tbseg_ops.run.finish import DifferentResultsError, Finished
from tbseg_ops.run.result import Progress
from tbseg_ops.run.workplace import Workplace

Work = Callable[[Workplace, Sequence[int]], Iterator[Finished]]


def help_others(place: Workplace, work: Work, team: Team, progress: Progress) -> int:
    """Finish tiles of other batches by ``work``, until all are begun; how many were.

    What fails ends the helping, and no more: it is for the owner of the tile to tell. But
    DifferentResultsError is raised: a machine computes wrongly, this one or the owner's.
    """
    counts, plan = Counter[int](), place.folder.plan
    one_by_one = isinstance(team, Alone)
    helping = partial(_help if one_by_one else _help_to_the_end, place, work)
    try:
        if place.batches.to_help(set()) is None:  # no worker need be started for that
            return 0
        for helps in team.map(helping, range(team.workers)):
            for batch, tile in helps:
                counts[batch] += 1
                total = len(plan.batch_indices(batch))
                progress(f"helps batch {batch}", tile, counts[batch], total)
    except DifferentResultsError:
        raise
    except Exception as error:
        why = "; ".join(map(str.strip, str(error).splitlines())) or type(error).__name__
        progress("helps no more", why, counts.total(), counts.total())
    return counts.total()


def _help(place: Workplace, work: Work, worker: int) -> Iterator[tuple[int, str]]:
    """Numbers of batches, and what was done for them, as it comes."""
    exhausted = set[int]()
    while (found := place.batches.to_help(exhausted)) is not None:
        batch, tile = found
        for finished in work(place, [tile.index]):
            yield batch, f"{tile.name} {finished}"


def _help_to_the_end(place: Workplace, work: Work, worker: int) -> list[tuple[int, str]]:
    return list(_help(place, work, worker))
