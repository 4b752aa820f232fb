"""calibrate: classify a few tiles of a run before all others, to know how long they take."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from math import prod
from pathlib import Path

import numpy as np

from tbseg_ops.geometry import Box, Index
from tbseg_ops.run import Plan, RunFolder, Team
from tbseg_ops.run.finish import Finished
from tbseg_ops.run.prediction import predict
from tbseg_ops.run.raw import SubVolume
from tbseg_ops.run.result import Progress, StepResult, silent, work_through
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.steps.classify import classify_share, tile_shares

COUNT = 3
_SIDE = 16  # voxels of what is computed to have everything compiled and loaded


def calibrate(
    *,
    run: Path,
    count: int = COUNT,
    part: tuple[int, int] = (0, 1),
    threads: int = 1,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Classify ``count`` tiles, spread over the volume, and of them what is missing.

    They are tiles of the run as any others: nothing is computed twice. Their records have the time
    of the tile alone, without the compiling that the first one on a host would wait for. Never more
    than half of the tiles, and none where that is one: such a run is its own calibration. ``part``
    (number, of how many): every so manieth of them, so that several hosts can share them.
    """
    folder = RunFolder(run)
    number, of = part
    wanted = chosen(folder.plan, count)[number::of]
    work = partial(_classify_warm, Workplace(folder, threads))
    some = tile_shares(folder, wanted, team)
    return work_through("calibrate", folder, some, work, team, progress, len(wanted))


def chosen(plan: Plan, count: int) -> list[int]:
    """The indices of up to ``count`` tiles, inner ones and such at faces; the same for each call.

    They do not depend on what is finished, so that parts that run side by side agree on them.
    """
    grid = plan.grid
    count = min(count, len(grid) // 2)
    if count < 2:
        return []
    return [grid.at(position).index for position in spread(grid.counts, count)]


def spread(counts: Index, number: int) -> list[Index]:
    """``number`` different positions in a grid of ``counts``, far from each other on each axis.

    The points 1/2 + k (g⁻¹, g⁻², g⁻³) mod 1 with g⁴ = g + 1 (Roberts, The unreasonable
    effectiveness of quasirandom sequences, 2018). At most as many as there are positions.
    """
    g = 1.2207440846057596
    found: dict[Index, None] = {}
    number, k = min(number, prod(counts)), 0
    while len(found) < number:
        z, y, x = (int((0.5 + k * g**-axis) % 1 * n) for axis, n in enumerate(counts, start=1))
        found[z, y, x] = None
        k += 1
    return list(found)


def _classify_warm(place: Workplace, indices: Sequence[int]) -> Iterator[Finished]:
    _warm_up(place)
    return classify_share(place, False, indices)


@lru_cache(maxsize=1)
def _warm_up(place: Workplace) -> None:
    """Compile or load all that the engine native needs. The program ilastik starts for each share.

    Noise, since a constant volume would not need much of it.
    """
    plan = place.folder.plan
    if plan.spec.engine != "native":
        return
    core = Box.middle(plan.shape, (_SIDE, _SIDE, _SIDE))
    box = plan.grid.halo_of(core)
    noise = np.random.default_rng(0).integers(0, 100, (*box.shape, plan.volume.channels))
    part = SubVolume(noise.astype(plan.volume.dtype), None)
    predict(plan, place.engine, part, core.relative_to(box.lo))
