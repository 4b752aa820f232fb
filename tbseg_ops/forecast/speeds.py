"""How long work will take, from how long some of it took: pure statistics, nothing is read.

A tile of work w (voxels) takes x w seconds; x has a mean for each host, its *rate*, and varies from
tile to tile with a coefficient of variation that is common to all hosts.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, pi, prod, sqrt, tan
from statistics import NormalDist, fmean, harmonic_mean, variance

from tbseg_ops.forecast.model import Range
from tbseg_ops.geometry import Index

CONFIDENCE = 0.90  # of the intervals
ONE_SAMPLE = 2.0  # times more or less, where one measurement is all there is
# Neighbours come and go, disks fill their caches: a host is now and then slower or faster by this.
_DRIFT = 0.05
_LEAST_VARIATION = 0.05  # few tiles can be alike by luck
_MOST = 100.0  # times more or less: beyond, it is not known at all
_PAUSE_VARIATION = 0.35  # of what a unit takes beyond its tiles, which nobody measures
_UNKNOWN_HOST = 0.5  # variation between hosts, where only one has been seen


@dataclass(frozen=True)
class Sample:
    """One tile that was measured; ``work`` in voxels, more than 0."""

    host: str
    work: float
    seconds: float


@dataclass(frozen=True)
class Variance:
    """A squared coefficient of variation, and the degrees of freedom it was estimated with."""

    value: float
    freedom: float


@dataclass(frozen=True)
class Speeds:
    """What samples say. ``rates``: seconds a voxel, by host; ``counts``: samples, by host.

    ``tiles``: variation from tile to tile on one host. ``hosts``: of the rates from host to host;
    both None where they cannot be estimated.
    """

    rates: dict[str, float]
    counts: dict[str, int]
    tiles: Variance | None
    hosts: Variance | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Speeds":
        """ValueError without samples.

        Rates are ratios of sums (Cochran, Sampling Techniques, chapter 6), so that small tiles
        count for what they are. With one sample on each host nothing tells tiles from hosts: the
        variation of either is that of everything.
        """
        hosts: dict[str, list[Sample]] = {}
        for sample in samples:
            hosts.setdefault(sample.host, []).append(sample)
        rates = {host: _ratio(own) for host, own in hosts.items()}
        counts = {host: len(own) for host, own in hosts.items()}
        freedom = len(samples) - len(hosts)
        if not freedom:
            everything = _variation(list(rates.values()))
            return cls(rates, counts, everything, everything)
        squares = sum(_squares(own, rates[host]) for host, own in hosts.items())
        within = _floored(squares / freedom, freedom)
        return cls(rates, counts, within, _variation(list(rates.values())))

    @property
    def typical(self) -> float:
        """The rate of a host that was not measured: that of hosts which work side by side."""
        return harmonic_mean(list(self.rates.values()))


def places_like(speeds: Speeds, workers: int) -> dict[str, int]:
    """``workers`` spread over the hosts of the samples as these are (largest remainders)."""
    total = sum(speeds.counts.values())
    wanted = {host: workers * count / total for host, count in speeds.counts.items()}
    places = {host: int(share) for host, share in wanted.items()}
    rest = sorted(wanted, key=lambda host: places[host] - wanted[host])
    for host in rest[: workers - sum(places.values())]:
        places[host] += 1
    return {host: number for host, number in places.items() if number}


def time_for(
    speeds: Speeds, places: Mapping[str, int], units: int, work: float, tiles: int, pause: float = 0
) -> Range:
    """Seconds until ``tiles`` tiles of ``work`` voxels together are done: expected, with interval.

    ``places``: workers side by side, by host (one without samples is expected to be like the
    others); ``units``: pieces in which the work is handed out, each to the worker that is free
    first; ``pause``: seconds that a unit takes beyond its tiles.

    Expected: the end of that list schedule with the expected rates. Interval: of a prediction for
    the sum of future observations, mean * (1 +- t sqrt(s²/n + s²/m)) (Hahn and Meeker, Statistical
    Intervals, section 4.7), with these changes. Rates of hosts have errors of their own, and drift;
    they count by the host's share of the throughput. Where variances have different degrees of
    freedom t has those of Satterthwaite. All is taken on the logarithm (delta method): no time is
    negative. ``pause`` is known to a third. Below, all workers are busy to the end; above, all but
    one may wait for the last unit, on the slowest host (Graham's bound of list schedules, 1969).
    """
    if not tiles:
        return Range.exactly(0)
    rates = {host: speeds.rates.get(host, speeds.typical) for host in places}
    each = {host: rate * work / units + pause for host, rate in rates.items()}
    seconds = [each[host] for host, number in places.items() for _ in range(number)]
    if not any(seconds):
        return Range.exactly(0)
    expected = finish(units, seconds)
    busy = units / sum(1 / s if s else inf for s in seconds)
    wait = max(seconds) * (1 - 1 / len(seconds))
    factor = _factor(_variances(speeds, places, each, tiles, pause))
    return Range(low=busy / factor, expected=expected, high=max(expected, busy + wait) * factor)


def total_of(samples: Sequence[Sample], work: float, count: int) -> Range:
    """Of a quantity that grows with ``work``: the sum over ``count`` more pieces.

    As ``time_for``, with one worker; ``Sample.seconds`` is the quantity, whatever its unit.
    """
    if not count:
        return Range.exactly(0)
    speeds = Speeds.of([Sample("", s.work, s.seconds) for s in samples])
    return time_for(speeds, {"": 1}, 1, work, count)


def finish(units: int, seconds: Sequence[float]) -> float:
    """When the last of ``units`` equal pieces is done; ``seconds``: of one, by worker.

    A piece goes to the worker that is free first, of several the first.
    """
    free = [(0.0, index) for index in range(len(seconds))]
    end = 0.0
    for _ in range(units):
        begin, index = free[0]
        heapq.heapreplace(free, (begin + seconds[index], index))
        end = max(end, begin + seconds[index])
    return end


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


def student(freedom: float) -> float:
    """The quantile of Student's t that an interval of ``CONFIDENCE`` needs on each side.

    Exact for one and two degrees of freedom, else the expansion of Abramowitz and Stegun (26.7.5),
    which is right to 0.5 % from three on. Freedom below one counts as one.
    """
    p = (1 + CONFIDENCE) / 2
    if freedom < 2:  # between one and two: the wider
        return tan(pi * (p - 0.5))
    if freedom < 3:
        return (2 * p - 1) * sqrt(2 / (1 - (2 * p - 1) ** 2))
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**k for k, term in enumerate(terms, start=1))


def _variances(
    speeds: Speeds,
    places: Mapping[str, int],
    each: Mapping[str, float],
    tiles: int,
    pause: float,
) -> list[Variance] | None:
    """The independent parts of the squared relative error of a total time; None: unknown."""
    if speeds.tiles is None:
        return None
    done = {host: number / each[host] if each[host] else 0.0 for host, number in places.items()}
    shares = {host: units / sum(done.values()) for host, units in done.items()}
    own = speeds.tiles
    known = sum(shares[host] ** 2 / speeds.counts[host] for host in shares.keys() & speeds.rates)
    parts = [
        Variance(own.value * (1 / tiles + known), own.freedom),
        Variance(_DRIFT**2 * sum(share**2 for share in shares.values()), inf),
        Variance(
            (_PAUSE_VARIATION * sum(shares[h] * pause / each[h] for h in shares if each[h])) ** 2,
            inf,
        ),
    ]
    others = shares.keys() - speeds.rates
    if others:
        share, number = sum(shares[h] for h in others), sum(places[h] for h in others)
        between = speeds.hosts or Variance(_UNKNOWN_HOST**2, inf)
        drawn = 1 / len(speeds.rates) + 1 / number
        parts.append(Variance(share**2 * between.value * drawn, between.freedom))
    return parts


def _factor(parts: list[Variance] | None) -> float:
    if parts is None:
        return ONE_SAMPLE
    total = sum(part.value for part in parts)
    freedom = total**2 / sum(part.value**2 / part.freedom for part in parts)
    return exp(min(student(freedom) * sqrt(total), log(_MOST)))


def _squares(samples: Sequence[Sample], rate: float) -> float:
    """Of the deviations from ``rate``, as shares of the mean; small tiles deviate by little."""
    mean = rate * fmean(s.work for s in samples)
    return sum((s.seconds - rate * s.work) ** 2 for s in samples) / mean**2 if mean else 0.0


def _ratio(samples: Sequence[Sample]) -> float:
    return sum(s.seconds for s in samples) / sum(s.work for s in samples)


def _variation(values: Sequence[float]) -> Variance | None:
    mean = fmean(values)
    if len(values) < 2:
        return None
    return _floored(variance(values) / mean**2 if mean else 0.0, len(values) - 1)


def _floored(value: float, freedom: float) -> Variance:
    return Variance(max(value, _LEAST_VARIATION**2), freedom)
