"""forecast: hours, disk and memory of what is left of a run, each with an interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from tbseg_ops.forecast.disk import disk_needed
from tbseg_ops.forecast.measured import (
    classified_like,
    names_of,
    pause_of,
    seconds_a_voxel,
    sizes,
    times,
    work_of,
)
from tbseg_ops.forecast.memory import memory_needed
from tbseg_ops.forecast.model import Forecast, Range, StepForecast
from tbseg_ops.forecast.speeds import Sample, Speeds, places_like, time_for, total_of
from tbseg_ops.geometry import Tile
from tbseg_ops.run import Plan, RunFolder
from tbseg_ops.run.records import Step
from tbseg_ops.run.status import status
from tbseg_ops.run.work_left import survey, work_left
from tbseg_ops.storage.commit import commit_over

NOTHING_MEASURED = "no tile measured yet"
NOTHING_LEFT = "nothing is left"
# Where nothing is measured, of one worker (make bench: 0.5 to 6 million voxels a second with the
# engine native; the program ilastik takes some twenty times as long). Wide, and named as such.
_VOXELS_A_SECOND = {"native": 2e6, "ilastik": 1e5}
_GUESS = 4.0  # times more or less
# Of what a step writes or checks; ingest and split by each worker. And seconds for it to begin.
_BYTES_A_SECOND: dict[Step, float] = {"ingest": 80e6, "split": 50e6, "merge": 40e6, "verify": 8e6}
_BEGIN = 2.0
_PAUSE = 3.0  # of a task of Airflow, where those of split tell nothing
_LIKE_BEFORE = 1.5  # times more or less, for a step that was measured as a whole
_CLASSES_SHARE = 0.3  # of the estimate from above, and as many times more or less
_ENOUGH = 3  # measured tiles of a run, for earlier ones not to count


@dataclass(frozen=True)
class Crew:
    """Who will do the work.

    ``workers``: tiles side by side. ``slots``: how many of them on which host, by its name in
    records; None: spread as the measured tiles are. ``batches``: work is handed out in whole
    batches, each of which takes ``pause`` seconds beyond its tiles; None: as those of split took.
    ``threads``: of the engine.
    """

    workers: int
    slots: Mapping[str, int] | None = None
    batches: bool = False
    pause: float | None = 0.0
    threads: int = 1


def forecast(
    *,
    run: Path,
    crew: Crew,
    tiles: tuple[str, ...] | None = None,
    earlier: tuple[Path, ...] = (),
) -> Forecast:
    """Forecast what is left of a run, and keep it in ``forecast.json``.

    ``tiles``: only these are done, anew. ``earlier``: runs whose records count where this one has
    too few, behind those that its plan names. A run with nothing left to classify keeps the
    forecast that it has. ConfigError if there is no plan.
    """
    folder = RunFolder(run)
    made = prospect(folder, crew, tiles=tiles, earlier=earlier)
    if made.tiles or not folder.forecast_file.exists():
        commit_over(folder.forecast_file, made.to_bytes())
    return made


def prospect(
    folder: RunFolder,
    crew: Crew,
    *,
    tiles: tuple[str, ...] | None = None,
    earlier: tuple[Path, ...] = (),
) -> Forecast:
    """The same, kept nowhere; also of a plan that is not stored yet (``RunFolder.under``)."""
    return _Forecaster(folder, crew, tiles or (), earlier).made()


class _Forecaster:
    def __init__(
        self, folder: RunFolder, crew: Crew, again: tuple[str, ...], earlier: tuple[Path, ...]
    ) -> None:
        self.folder, self.plan, self.crew = folder, folder.plan, crew
        fates = list(survey(folder))
        left = work_left(folder, fates=fates)
        computed = [fate.tile for fate in fates if fate.classes == "computed"]
        self.left = [*computed, *(fate.tile for fate in fates if fate.classes == "derived")]
        unwritten = {tile.name for tile in self.left}
        self.done = [tile.name for tile in self.plan.grid if tile.name not in unwritten]
        self.again = folder.tiles(None, again)
        self.wanted = self.again or computed
        whole = left.merged and not self.wanted
        verified = whole and status(run=folder.path).verified
        # Pieces to be made, without those that are taken over.
        self.pieces: dict[Step, int] = {
            "ingest": left.of("ingest").computed,
            "split": left.of("split").computed,
            "merge": int(not whole),
            "verify": int(not verified),
        }
        paths = [*(run.path for run in folder.earlier), *earlier]
        self.likes = [old for path in paths if (old := classified_like(self.plan, path))]

    def made(self) -> Forecast:
        classes, results = self._classes()
        seconds, basis = self._classify()
        steps = (
            self._whole("ingest", self._share("ingest"), 0),
            self._whole("split", self._share("split"), 0),
            _step("classify", len(self.wanted), seconds, basis),
            self._whole("merge", self._share("merge"), results.expected / 2),
            self._whole("verify", self._share("verify"), results.expected / 2),
        )
        hours = steps[0].hours
        for step in steps[1:]:
            hours = hours.plus(step.hours)
        return Forecast(
            plan=self.plan.digest,
            before="classify",
            tiles=len(self.wanted),
            workers=self._workers,
            steps=steps,
            hours=hours,
            disk=self._disk(classes, results),
            results=results,
            memory=memory_needed(self.plan, self.crew.threads),
            basis=basis,
        )

    def _share(self, step: Step) -> float:
        """What is left of a step, of all its pieces."""
        of = {"ingest": len(self.plan.slabs), "split": len(self.plan.grid)}
        return self.pieces[step] / of.get(step, 1)

    @cached_property
    def _pause(self) -> float:
        if self.crew.pause is not None:
            return self.crew.pause
        if not self.crew.batches:
            return 0.0
        measured = pause_of(self.folder, self._workers)
        return _PAUSE if measured is None else measured

    @property
    def _workers(self) -> int:
        return sum(self.crew.slots.values()) if self.crew.slots else self.crew.workers

    def _classify(self) -> tuple[Range, str]:
        """Seconds, and what they rest on."""
        if not self.wanted:
            return Range.exactly(0), NOTHING_LEFT
        crew, plan = self.crew, self.plan
        work = sum(work_of(plan, tile) for tile in self.wanted)
        count = len(self.wanted)
        units = _batches(plan, self.wanted) if crew.batches else count
        samples, basis = self._samples()
        if samples:
            speeds = Speeds.of(samples)
            places = crew.slots or places_like(speeds, crew.workers)
            found = time_for(speeds, places, units, work, count, self._pause)
            return found.plus(Range.exactly(self._beside(units))), basis
        rate = 1 / _VOXELS_A_SECOND[plan.spec.engine] / crew.threads
        alike = Speeds({"": rate}, {"": 1}, None, None)
        guess = time_for(alike, {"": self._workers}, units, work, count, self._pause)
        return Range.within(guess.expected, _GUESS), NOTHING_MEASURED

    def _beside(self, units: int) -> float:
        """Seconds beyond the units with work: workers begin once; or, of batches each by itself.

        Then a batch that has nothing left is a task all the same, unless tiles were named.
        """
        if not self.crew.batches:
            return _BEGIN
        others = 0 if self.again else self.plan.batches - units
        return others * self._pause / self._workers

    def _samples(self) -> tuple[list[Sample], str]:
        samples = times(self.folder, self.done)
        where = ""
        for old in self.likes:
            if len(samples) >= _ENOUGH:
                break
            more = times(old, names_of(old))
            samples, where = samples + more, f", records of {old.path.name} among them"
        hosts = len({sample.host for sample in samples})
        if len(samples) == 1:
            return samples, f"one tile only{where}"
        return samples, f"{len(samples)} tiles on {hosts} host{'s'[: hosts > 1]}{where}"

    def _whole(self, step: Step, share: float, size: float) -> StepForecast:
        """A step that is not forecast tile by tile; ``share``: of it, that is left."""
        plan = self.plan
        if not share:
            return _step(step, 0, Range.exactly(0), NOTHING_LEFT)
        voxels = prod(plan.volume.shape)
        workers = min(self._workers, len(plan.slabs)) if step == "ingest" else self._workers
        side_by_side = workers if step in ("ingest", "split") else 1
        rate = seconds_a_voxel([self.folder, *self.likes], step)
        if rate is not None:
            seconds = Range.within(rate * voxels * share / side_by_side, _LIKE_BEFORE)
            basis = "measured before"
        else:
            itemsize = np.dtype(plan.volume.dtype).itemsize * plan.volume.channels
            size = size or voxels * itemsize * share
            expected = _BEGIN + size / _BYTES_A_SECOND[step] / side_by_side
            seconds, basis = Range.within(expected, _GUESS), "not measured yet"
        return _step(step, self.pieces[step], seconds, basis)

    def _classes(self) -> tuple[Range, Range]:
        """Bytes of the class files to come, and of all of them with the merged file."""
        left = sum(tile.core.size for tile in self.left)
        done = prod(self.plan.volume.shape) - left
        found = sizes(self.folder, self.done)
        for old in self.likes:
            found = found or sizes(old, names_of(old))
        if found:
            rate = sum(s.seconds for s in found) / sum(s.work for s in found)
            classes, there = total_of(found, left, len(self.left)), Range.exactly(rate * done)
        else:
            most = disk_needed(self.plan)["classes"]
            classes = Range.within(most * _CLASSES_SHARE, 1 / _CLASSES_SHARE)
            there = Range.exactly(0)
        return classes, classes.plus(there).times(2)

    def _disk(self, classes: Range, results: Range) -> Range:
        needed = disk_needed(self.plan)
        volume = needed["volume"] * self._share("ingest")
        tiles = needed["tiles"] * self._share("split")
        merged = results.times(0.5) if self.pieces["merge"] else Range.exactly(0)
        # The merged file is as large as the class files are: an error of the one is in the other.
        known = volume + tiles
        return Range(
            low=known + classes.low + merged.low,
            expected=known + classes.expected + merged.expected,
            high=known + classes.high + merged.high,
        )


def _step(step: Step, pieces: int, seconds: Range, basis: str) -> StepForecast:
    return StepForecast(step=step, pieces=pieces, hours=seconds.times(1 / 3600), basis=basis)


def _batches(plan: Plan, tiles: list[Tile]) -> int:
    """The batches that hold any of these tiles."""
    return len({tile.index // plan.batch_size for tile in tiles})
