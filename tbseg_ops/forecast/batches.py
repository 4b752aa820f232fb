"""How many tiles a task of a scheduler gets: its work should outweigh what starting it costs."""

from math import ceil

from tbseg_ops.forecast.samples import VOXELS_A_SECOND, names_of, similar_run, times, work_of
from tbseg_ops.run import Plan


def batch_size(plan: Plan, places: int, seconds: float) -> int:
    """Tiles for about so many ``seconds`` of one worker, by an earlier run like it, or by a guess.

    But never so many that one of the ``places`` has nothing to do, and never so few that there are
    more batches than the spec allows.
    """
    tiles, least = len(plan.grid), ceil(len(plan.grid) / plan.spec.max_batches)
    together = int(seconds / max(1e-9, work_of(plan, plan.grid[0]) * _seconds_a_voxel(plan)))
    return max(1, least, min(together, tiles // places))


def _seconds_a_voxel(plan: Plan) -> float:
    for path in plan.earlier:
        run = similar_run(plan, path)
        measured = times(run, names_of(run)) if run is not None else []
        if measured:
            return sum(s.seconds for s in measured) / sum(s.work for s in measured)
    return 1 / VOXELS_A_SECOND[plan.spec.engine]
