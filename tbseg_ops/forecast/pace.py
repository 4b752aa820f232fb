"""How fast tiles are being made just now, and how long the others will take at that pace.

Pure statistics, nothing is read. What a forecast expects before the work is ``predict``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from tbseg_ops.forecast.model import Range
from tbseg_ops.forecast.replay import Sample, places_like, time_for

# Tiles, and seconds, that tell the pace at least: small tiles come in bursts, one batch after the
# other; and what was hours ago need not hold any more.
_LATEST, _LAST = 500, 600.0
_REST = 120.0  # seconds in which nobody was at work: the pace is that of the time since


@dataclass(frozen=True)
class Made:
    """A tile that was computed; ``end``: when, in seconds since 1970. ``voxels``: classified."""

    sample: Sample
    end: float
    voxels: int

    @property
    def begin(self) -> float:
        return self.end - self.sample.seconds


@dataclass(frozen=True)
class Pace:
    """Of the tiles ``made`` in ``seconds`` by the clock, which pauses between tasks are part of."""

    made: tuple[Made, ...]
    seconds: float

    @property
    def voxels_a_second(self) -> float:
        return sum(one.voxels for one in self.made) / self.seconds

    @property
    def side_by_side(self) -> float:
        """Tiles that are worked on at the same time, in the mean."""
        return sum(one.sample.seconds for one in self.made) / self.seconds

    @property
    def is_known(self) -> bool:
        """Whether each worker has made more than its first tile: until then some are not seen."""
        return len(self.made) >= 2 * self.side_by_side

    def time_for(self, tiles: int) -> Range:
        """Seconds for so many tiles more, of the size of the latest ones."""
        samples = [one.sample for one in self.made]
        workers = max(1, round(self.side_by_side))
        work = tiles * sum(sample.work for sample in samples) / len(samples)
        found = time_for(samples, places_like(samples, workers), tiles, work, tiles)
        return found.times(workers / self.side_by_side)


def pace_of(made: Iterable[Made]) -> Pace | None:
    """The pace of the latest tiles; None if there are none.

    Where the work has rested, only what was made since counts.
    """
    latest: list[Made] = []
    began = float("inf")
    for one in sorted(made, key=attrgetter("end"), reverse=True):
        if latest and one.end < began - _REST:
            break
        if len(latest) >= _LATEST and one.end < latest[0].end - _LAST:
            # These and others were worked on side by side: they count from when the last of those
            # was done.
            began = one.end
            break
        latest.append(one)
        began = min(began, one.begin)
    if not latest:
        return None
    return Pace(tuple(latest), max(latest[0].end - began, 1e-3))
