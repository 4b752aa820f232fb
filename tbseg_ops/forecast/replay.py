"""How long work will take, from how long some of it took: pure statistics, nothing is read.

The schedule of what is left is played many times over. Each replay draws what is not known, as far
as the samples leave it open; the interval is what nine replays in ten need:

- how much tiles vary on a host, and hosts among each other;
- the rate of each host: by the variation of tiles over the root of its samples, and a drift;
- that of a host without samples: by the variation of hosts;
- that of each worker: by the variation of tiles over the root of its share, so that few tiles end
  unevenly;
- the pause.

The draws are seeded: the same samples give the same figures.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import fmean, harmonic_mean, stdev

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.forecast.model import Range

ONE_SAMPLE = 2.0  # times more or less, where one measurement is all there is
_QUANTILES = (0.05, 0.95)
_REPLAYS, _FEWEST, _MOST_NUMBERS = 1000, 50, 300_000  # fewer with more than 300 workers
# Neighbours come and go, disks fill their caches: a host is now and then slower or faster by 5 %,
# when it was measured as well as later on.
_DRIFT = 0.05 * sqrt(2)
_LEAST_VARIATION = 0.05  # few tiles can be alike by luck
_UNKNOWN_HOST = 0.5  # variation between hosts, where only one has been seen
_PAUSE_VARIATION = 0.35  # of what a unit takes beyond its tiles, which nobody measures
_MOST = log(100.0)  # times more or less: beyond, it is not known at all

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One tile that was measured: ``work`` in voxels, ``seconds``; both more than 0."""

    host: str
    work: float
    seconds: float


def time_for(
    samples: Sequence[Sample],
    places: Mapping[str, int],
    units: int,
    work: float,
    tiles: int,
    pause: float = 0.0,
) -> Range:
    """Seconds until ``tiles`` tiles of ``work`` voxels together are done: expected, with interval.

    ``samples``: at least one. ``places``: workers side by side, by host (one without samples is
    expected to be like the others); ``units``: pieces in which the work is handed out, each to the
    worker that is free first; ``pause``: seconds that a unit takes beyond its tiles.

    Expected: the end of that schedule if each host is as fast as its samples say.
    """
    if not tiles:
        return Range.exactly(0)
    by_host = _by_host(samples)
    rates = {host: _rate(own) for host, own in by_host.items()}
    typical = harmonic_mean(list(rates.values()))  # of hosts that work side by side
    usual = np.array([rates.get(host, typical) for host in places])
    host_of = np.repeat(np.arange(len(places)), list(places.values()))  # by worker
    unit = work / units
    expected = float(ends(units, usual[None, host_of] * unit + pause)[0])
    if len(samples) == 1:
        return Range.within(expected, ONE_SAMPLE)

    random = np.random.default_rng(0)
    number = max(_FEWEST, min(_REPLAYS, _MOST_NUMBERS // len(host_of)))
    within, between = _variations(by_host, rates, number, random)
    known = np.array([len(by_host.get(host, ())) for host in places])
    like = np.sqrt([1 / len(rates) + 1 / count for count in places.values()])
    of_hosts = np.where(known, within / np.sqrt(np.maximum(known, 1)), between * like)
    shares = (1 / usual / np.sum((1 / usual)[host_of]))[host_of]
    of_workers = within / np.sqrt(np.maximum(tiles * shares, tiles / units))

    def noise(count: int) -> Floats:
        return random.standard_normal((number, count))

    # On the logarithm, so that no time is negative.
    errors = (of_hosts * noise(len(places)) + _DRIFT * noise(len(places)))[:, host_of]
    errors += of_workers * noise(len(host_of))
    # What makes a host slow makes the start of its tasks slow, too.
    pauses = pause * np.exp(_PAUSE_VARIATION * noise(1))
    seconds = (usual[host_of] * unit + pauses) * np.exp(np.clip(errors, -_MOST, _MOST))
    low, high = np.quantile(ends(units, random.permuted(seconds, axis=1)), _QUANTILES)
    return Range(low=min(low, expected), expected=expected, high=max(high, expected))


def _variations(
    by_host: Mapping[str, Sequence[Sample]],
    rates: Mapping[str, float],
    number: int,
    random: "np.random.Generator",  # in quotes: else it is loaded with this module
) -> tuple[Floats, Floats]:
    """How much tiles of one host vary, and the rates of hosts, in each replay (replays, 1).

    Standard deviations as shares of the mean. A replay has one that may be behind the s which f
    degrees of freedom show: s sqrt(f / chi²(f)), so that few samples make wide intervals, as
    Student's t does.
    """

    def drawn(found: float, freedom: int) -> Floats:
        chi2 = random.chisquare(freedom, (number, 1))
        return max(found, _LEAST_VARIATION) * np.sqrt(freedom / chi2)

    between = np.full((number, 1), _UNKNOWN_HOST)
    if len(rates) > 1:
        between = drawn(stdev(rates.values()) / fmean(rates.values()), len(rates) - 1)
    freedom = sum(map(len, by_host.values())) - len(rates)
    if not freedom:  # nothing tells tiles from hosts: the variation of either is that of all
        return between, between
    squares = sum(_squares(own, rates[host]) for host, own in by_host.items())
    return drawn(sqrt(squares / freedom), freedom), between


def total_of(samples: Sequence[Sample], work: float, count: int) -> Range:
    """Of a quantity that grows with ``work``: the sum over ``count`` more pieces.

    As ``time_for``, with one worker; ``Sample.seconds`` is the quantity, whatever its unit.
    """
    return time_for([Sample("", s.work, s.seconds) for s in samples], {"": 1}, 1, work, count)


def ends(units: int, seconds: Floats) -> Floats:
    """When the last of ``units`` equal pieces is done, in each replay.

    ``seconds`` (replays, workers): of one piece, each more than 0. A piece goes to the worker that
    is free first. So the pieces begin at the ``units`` smallest multiples of the workers' times;
    the last of these is found by bisection, which takes as long for a million as for ten.
    """
    seconds = seconds[:, :units]
    throughput = np.sum(1 / seconds, axis=1)
    late = units / throughput
    early = np.maximum(units - seconds.shape[1], 0) / throughput * (1 - 1e-9)
    for _ in range(40):
        middle = (early + late) / 2
        enough = _begun(seconds, middle).sum(axis=1) >= units
        early, late = np.where(enough, early, middle), np.where(enough, middle, late)
    end: Floats = np.max(_begun(seconds, late) * seconds, axis=1)
    return end


def _begun(seconds: Floats, at: Floats) -> Floats:
    """Pieces that each worker has begun at that time, the present one with them."""
    return np.floor(at[:, None] / seconds) + 1


def places_like(samples: Sequence[Sample], workers: int) -> dict[str, int]:
    """``workers`` spread over the hosts of the samples as these are."""
    hosts = sorted(sample.host for sample in samples)
    return dict(Counter(hosts[i * len(hosts) // workers] for i in range(workers)))


def _by_host(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    hosts: dict[str, list[Sample]] = {}
    for sample in samples:
        hosts.setdefault(sample.host, []).append(sample)
    return hosts


def _rate(samples: Sequence[Sample]) -> float:
    """Seconds a voxel: a ratio of sums, so that small tiles count for what they are."""
    return sum(s.seconds for s in samples) / sum(s.work for s in samples)


def _squares(samples: Sequence[Sample], rate: float) -> float:
    """Of the deviations from ``rate``, as shares of the mean; small tiles deviate by little."""
    mean = rate * fmean(s.work for s in samples)
    return sum((s.seconds - rate * s.work) ** 2 for s in samples) / mean**2
