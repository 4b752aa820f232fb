"""The pace of the latest tiles, on schedules whose true pace is known."""

import heapq

import numpy as np
import pytest

from tbseg_ops.forecast.pace import Made, pace_of
from tbseg_ops.forecast.replay import Sample

VOXELS = 1000


def schedule(tiles, workers, seconds=10.0, pause=0.0, start=1e9, spread=0.1, seed=0):
    """Tiles by the clock: each worker takes the next one when it has rested for ``pause``."""
    random = np.random.default_rng(seed)
    free, made = [start] * workers, []
    for _ in range(tiles):
        took = seconds * float(np.exp(spread * random.standard_normal()))
        end = heapq.heappop(free) + took
        heapq.heappush(free, end + pause)
        made.append(Made(Sample("a", VOXELS, took), end, VOXELS))
    return made


def test_there_is_no_pace_without_tiles():
    assert pace_of([]) is None


@pytest.mark.parametrize("workers", [1, 2, 8, 40])
@pytest.mark.parametrize(("rounds", "near"), [(3, 0.25), (20, 0.06), (80, 0.06)])
def test_it_is_that_of_the_workers_whatever_the_order_of_the_tiles(workers, rounds, near):
    """What is being worked on is not counted: half a tile of each worker at most."""
    made = sorted(schedule(workers * (rounds + 1), workers), key=lambda one: one.end)
    pace = pace_of(reversed(made[: workers * rounds]))
    assert pace.is_known
    assert pace.voxels_a_second == pytest.approx(workers * VOXELS / 10, rel=near)
    assert pace.side_by_side == pytest.approx(workers, rel=near)


@pytest.mark.parametrize("tiles", [1, 3, 8])
def test_until_each_of_eight_workers_has_made_more_than_one_tile_it_is_not_known(tiles):
    assert not pace_of(schedule(40, workers=8)[:tiles]).is_known


def test_pauses_between_tasks_are_part_of_it():
    pace = pace_of(schedule(60, workers=2, seconds=1.0, pause=3.0, spread=0.0))
    assert pace.voxels_a_second == pytest.approx(2 * VOXELS / 4, rel=0.1)


def test_a_night_without_work_is_not():
    made = schedule(20, workers=4) + schedule(20, workers=2, start=1e9 + 40_000)
    pace = pace_of(made)
    assert len(pace.made) == 20
    assert pace.voxels_a_second == pytest.approx(2 * VOXELS / 10, rel=0.1)


def test_the_latest_of_many_tiles_count():
    begin = schedule(2000, workers=1, seconds=1.0)
    end = schedule(600, workers=6, start=begin[-1].end)
    assert pace_of(begin + end).voxels_a_second == pytest.approx(6 * VOXELS / 10, rel=0.05)


def test_small_tiles_in_bursts_have_the_pace_of_many_bursts():
    """Batches of 300 tiles in 3 seconds, each after 5 seconds in which its task begins."""
    made = []
    for number in range(40):
        made += schedule(300, workers=1, seconds=0.01, start=1e9 + 8 * number)
    assert pace_of(made).voxels_a_second == pytest.approx(300 * VOXELS / 8, rel=0.05)


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_nine_times_out_of_ten_the_rest_takes_as_long_as_is_said(workers):
    held = 0
    for seed in range(100):
        whole = schedule(50 * workers, workers, spread=0.2, seed=seed)
        now = sorted(one.end for one in whole)[5 * workers]
        seen = [one for one in whole if one.end <= now]
        left = pace_of(seen).time_for(len(whole) - len(seen))
        held += left.low <= max(one.end for one in whole) - now <= left.high
    assert held >= 85
