"""How long work takes, from how long some of it took: the statistics, and whether they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbseg_ops.forecast.replay import ONE_SAMPLE, Sample, ends, places_like, time_for, total_of
from tbseg_ops.steps.calibrate import spread
from tests.bench.forecasts import CASES, coverage

positive = st.floats(0.01, 1000)
some = st.lists(
    st.builds(Sample, st.sampled_from("abc"), positive, positive), min_size=1, max_size=12
)


@given(some, st.integers(1, 40), st.integers(1, 200))
def test_an_interval_holds_its_expectation(samples, workers, tiles):
    places = places_like(samples, workers)
    assert sum(places.values()) == workers
    found = time_for(samples, places, tiles, 100.0 * tiles, tiles)
    assert 0 < found.low <= found.expected <= found.high


def test_workers_are_spread_as_the_samples_are():
    samples = [Sample(host, 1, 1.0) for host in "abbbac"]
    assert places_like(samples, 60) == {"a": 20, "b": 30, "c": 10}
    assert places_like(samples, 2) == {"a": 1, "b": 1}
    assert places_like(samples, 7) == {"a": 3, "b": 3, "c": 1}


@given(some, st.integers(1, 9), st.floats(0.1, 10))
def test_units_do_not_matter(samples, workers, scale):
    """Twice the seconds of the samples: twice the time; voxels may be counted in thousands."""
    other = [Sample(s.host, s.work * 1000, s.seconds * scale) for s in samples]
    one, two = (
        time_for(which, {"a": workers, "z": 1}, 50, work, 50)
        for which, work in ((samples, 5e3), (other, 5e6))
    )
    for name in ("low", "expected", "high"):
        assert getattr(two, name) == pytest.approx(getattr(one, name) * scale, rel=1e-6)


def test_one_sample_gives_a_factor_and_more_give_less():
    tile = Sample("a", 1e6, 10.0)
    ranges = [
        time_for(samples, {"a": 1}, 1000, 1e9, 1000)
        for samples in ([tile], [tile] * 2, [tile] * 3, [tile] * 10)
    ]
    assert [r.expected for r in ranges] == pytest.approx([1e4] * 4)
    assert ranges[0].high == pytest.approx(ranges[0].expected * ONE_SAMPLE)
    widths = [r.high / r.low for r in ranges[1:]]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] > 1.05  # equal by luck: no rate is known so well


@pytest.mark.parametrize(
    ("number", "value"),
    # Any table of Student's t, one-sided 0.95, for a degree of freedom less than samples.
    [(2, 6.314), (3, 2.920), (4, 2.353), (5, 2.132), (10, 1.833)],
)
def test_few_samples_are_trusted_as_students_t_would(number, value):
    """Of much noise, so that drift is of no account; on the logarithm."""
    seconds = np.linspace(0.3, 1.7, number)
    found = time_for([Sample("a", 1, s) for s in seconds], {"a": 1}, 10**6, 10**6, 10**6)
    factor = np.exp(value * seconds.std(ddof=1) / number**0.5)
    for times in (found.high / found.expected, found.expected / found.low):
        assert np.log(times) == pytest.approx(np.log(factor), rel=0.15)


def test_the_same_samples_give_the_same_figures():
    samples = [Sample("a", 1, 1.0), Sample("b", 2, 3.0), Sample("b", 1, 1.2)]
    first, again = (time_for(samples, {"a": 2, "c": 3}, 70, 100, 90, 0.5) for _ in range(2))
    assert first.to_bytes() == again.to_bytes()


def test_more_workers_need_less_and_more_work_needs_more():
    samples = [Sample("a", 1, 1.0 + e) for e in (-0.2, 0.0, 0.1)]

    def high(workers, units):
        return time_for(samples, {"a": workers}, units, units, units).high

    times = [high(workers, 1000) for workers in (1, 2, 10, 100, 1000)]
    assert times == sorted(times, reverse=True)
    times = [high(10, units) for units in (1, 100, 1000, 30_000, 1_000_000)]
    assert times == sorted(times)


def test_few_pieces_end_unevenly():
    """Side by side on as many workers, the slowest of them decides."""
    samples = [Sample("a", 1, 1.0 + e) for e in (-0.3, 0.3) * 20]
    one, side_by_side = (time_for(samples, {"a": n}, n, n, n) for n in (1, 50))
    assert side_by_side.expected == one.expected
    assert side_by_side.high > 1.3 * one.high


def test_hosts_have_rates_of_their_own():
    """One is twice as fast; the forecast follows the places, not the samples."""
    samples = [Sample("fast", 1, 1.0 + e) for e in (-0.01, 0.01, 0)]
    samples += [Sample("slow", 1, 2.0 + e) for e in (-0.02, 0.02, 0)]
    for places, seconds in (
        ({"fast": 3}, 1000),
        ({"slow": 3}, 2000),
        ({"fast": 2, "slow": 2}, 1000),
    ):
        assert time_for(samples, places, 3000, 3000, 3000).expected == pytest.approx(
            seconds, rel=0.01
        )
    known = time_for(samples, {"fast": 2, "slow": 2}, 3000, 3000, 3000)
    unknown = time_for(samples, {"new": 4}, 3000, 3000, 3000)
    assert unknown.high / unknown.low > 2 * known.high / known.low


def test_a_pause_is_not_well_known():
    """What is nearly all pause is as uncertain as that; what is nearly none, as the tiles are."""
    samples = [Sample("a", 1, 1.0)] * 9
    widths = []
    for pause in (0.0, 0.01, 1.0, 100.0):
        found = time_for(samples, {"a": 1}, 100, 100, 100, pause)
        assert found.expected == pytest.approx(100 * (1 + pause))
        widths.append(found.high / found.low)
    assert widths == sorted(widths)
    assert widths[1] == pytest.approx(widths[0], rel=0.01)
    assert widths[3] > 2.5


@given(st.integers(1, 300), st.lists(st.floats(0.1, 20), min_size=1, max_size=12))
def test_a_list_schedule_is_within_its_bounds(units, seconds):
    (end,) = ends(units, np.array([seconds]))
    busy = units / sum(1 / s for s in seconds)
    assert busy * (1 - 1e-9) <= end <= busy + max(seconds) + 1e-9


@pytest.mark.parametrize(
    ("units", "seconds", "end"),
    [(1, [2.0], 2), (4, [1.0, 1.0], 2), (5, [1.0, 1.0], 3), (3, [1.0, 3.0], 3), (9, [1.0] * 8, 2)],
)
def test_list_schedules(units, seconds, end):
    assert ends(units, np.array([seconds, seconds])).tolist() == [end, end]


@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 60))
def test_chosen_positions_are_different_and_inside(counts, number):
    found = spread(counts, number)
    assert len(found) == len(set(found)) == min(number, counts[0] * counts[1] * counts[2])
    assert all(0 <= a < n for position in found for a, n in zip(position, counts, strict=True))


def test_chosen_positions_are_not_all_in_one_corner():
    """Inner ones and ones at faces, and both halves of each axis."""
    found = np.array(spread((10, 10, 10), 8))
    assert all((found < 5).any(axis=0))
    assert all((found >= 5).any(axis=0))
    at_face = ((found == 0) | (found == 9)).any(axis=1)
    assert 0 < at_face.sum() < 8


def test_sizes_are_summed_in_the_same_way():
    found = total_of([Sample("", 10, 5.0), Sample("", 20, 11.0), Sample("", 10, 4.0)], 4000, 200)
    assert found.expected == pytest.approx(2000)
    assert found.low < 2000 < found.high
    assert total_of([], 0, 0).high == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_intervals_hold_as_often_as_they_say(case):
    """Simulated runs over machines of three kinds: nine times out of ten is promised."""
    found = coverage(case, draws=100)
    assert found.held >= 0.85
    assert found.error < 0.25  # mean of the absolute errors
