"""Forecasts of simulated runs against what came; ``python -m tests.bench --forecasts`` prints them.

Hosts of three kinds, noise, tiles that are nearly empty. What is drawn is known to nobody: the
forecast sees the samples of a calibration, as it would see records. Seeded: the same for each call.
"""

import heapq
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from tbseg_ops.forecast.model import Range
from tbseg_ops.forecast.replay import Sample, time_for

VOXELS = 256**3
_SEEN = 3  # hosts, where they are not known by name


@dataclass(frozen=True)
class Case:
    """``places``: workers of each host, ``rates``: seconds it takes for a tile, roughly.

    ``noise``: of a tile (log-normal sigma); ``drift``: of a host between the calibration and the
    run; ``empty``: share of the tiles that take next to nothing; ``each``: tiles measured on each
    host; ``named``: the forecast knows the hosts, and not only how many workers there are.
    """

    name: str
    places: tuple[int, ...]
    rates: tuple[float, ...]
    tiles: int = 600
    noise: float = 0.15
    drift: float = 0.05
    empty: float = 0.0
    each: int = 3
    batch: int = 1
    named: bool = True

    @property
    def measured(self) -> int:
        return self.each * (len(self.places) if self.named else _SEEN)


CASES = (
    Case("one machine", (4,), (8.0,)),
    Case("three kinds of hosts", (2, 4, 8), (5.0, 9.0, 16.0)),
    Case("the same, one tile in five empty", (2, 4, 8), (5.0, 9.0, 16.0), empty=0.2, each=6),
    Case("the same, batches of four", (2, 4, 8), (5.0, 9.0, 16.0), batch=4),
    Case("the same, one tile on each", (2, 4, 8), (5.0, 9.0, 16.0), each=1),
    Case(
        "pods on unknown nodes", (1,) * 20, (5.0, 9.0, 16.0) * 6 + (5.0, 9.0), each=1, named=False
    ),
)


@dataclass(frozen=True)
class Found:
    """``error``, ``bias``: means of the absolute and of the signed relative error of forecasts.

    ``held``: the share of draws in which the interval held; ``width``: mean of high / low.
    """

    error: float
    bias: float
    held: float
    width: float


def coverage(case: Case, draws: int = 200, seed: int = 1) -> Found:
    random = np.random.default_rng(seed)
    pairs = [drawn(case, random) for _ in range(draws)]
    errors = [forecast.expected / real - 1 for forecast, real in pairs]
    return Found(
        error=fmean(abs(e) for e in errors),
        bias=fmean(errors),
        held=fmean(forecast.holds(real) for forecast, real in pairs),
        width=fmean(forecast.high / forecast.low for forecast, _ in pairs),
    )


def drawn(case: Case, random: np.random.Generator) -> tuple[Range, float]:
    """A forecast, and the seconds that the run then took."""
    hosts = [f"host{i}" for i in range(len(case.places))]
    rates = dict(zip(hosts, case.rates, strict=True))
    seen = hosts if case.named else [str(h) for h in random.choice(hosts, _SEEN, replace=False)]
    samples = [
        Sample(host, VOXELS, float(seconds))
        for host in seen
        for seconds in rates[host] * _tiles(case, case.each, random)
    ]
    places = dict(zip(hosts, case.places, strict=True))
    asked = places if case.named else {"a pod": sum(case.places)}
    left = case.tiles - len(samples)
    units = -(-left // case.batch)
    forecast = time_for(samples, asked, units, float(left * VOXELS), left)
    drift = {host: float(np.exp(random.normal(0, case.drift))) for host in hosts}
    return forecast, _run(case, places, {h: rates[h] * drift[h] for h in hosts}, left, random)


def _tiles(case: Case, number: int, random: np.random.Generator) -> np.ndarray:
    """How long tiles take, where 1 is usual."""
    usual = np.exp(random.normal(0, case.noise, number))
    return np.where(random.random(number) < case.empty, 0.01, usual)


def _run(
    case: Case,
    places: dict[str, int],
    rates: dict[str, float],
    tiles: int,
    random: np.random.Generator,
) -> float:
    """The next batch to whoever is free first, each tile with its own time."""
    work = _tiles(case, tiles, random)
    batches = [float(work[i : i + case.batch].sum()) for i in range(0, tiles, case.batch)]
    free = [
        (0.0, i, rates[host]) for i, host in enumerate(h for h in places for _ in range(places[h]))
    ]
    heapq.heapify(free)
    end = 0.0
    for batch in batches:
        begin, i, rate = free[0]
        end = max(end, begin + rate * batch)
        heapq.heapreplace(free, (begin + rate * batch, i, rate))
    return end
