"""forecast: hours, disk and memory of what is left of a run, each with an interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from pathlib import Path

import numpy as np

from tbseg_ops.forecast.disk import disk_needed
from tbseg_ops.forecast.memory import memory_needed
from tbseg_ops.forecast.model import Forecast, Range, StepForecast
from tbseg_ops.forecast.replay import Sample, ends, places_like, time_for, total_of
from tbseg_ops.forecast.samples import (
    VOXELS_A_SECOND,
    names_of,
    seconds_a_voxel,
    similar_run,
    sizes,
    times,
    work_of,
)
from tbseg_ops.run import RunFolder
from tbseg_ops.run.records import Step
from tbseg_ops.run.status import status
from tbseg_ops.run.work_left import survey, work_left
from tbseg_ops.storage.commit import commit_over

NOTHING_MEASURED = "no tile measured yet"
NOTHING_LEFT = "nothing is left"
_GUESS = 4.0  # times more or less
# Of what a step writes or checks; ingest and split by each worker. And seconds for it to begin.
_BYTES_A_SECOND: dict[Step, float] = {"ingest": 80e6, "split": 50e6, "merge": 40e6, "verify": 8e6}
_REFERENCE = 100e3  # bytes that take as long as a sub-volume that holds none
_BEGIN = 2.0
_PAUSE = 3.0  # of a task of Airflow
_LIKE_BEFORE = 1.5  # times more or less, for a step that was measured as a whole
_CLASSES_SHARE = 0.3  # of the estimate from above, and as many times more or less
_ENOUGH = 3  # measured tiles of a run, for earlier ones not to count


@dataclass(frozen=True)
class Workforce:
    """Who will do the work.

    ``workers``: tiles side by side. ``slots``: how many of them on which host, by its name in
    records; None: spread as the measured tiles are. ``batches``: work is handed out in whole
    batches, each of which takes ``pause`` seconds beyond its tiles; None: as a task of Airflow.
    ``threads``: of the engine.
    """

    workers: int
    slots: Mapping[str, int] | None = None
    batches: bool = False
    pause: float | None = 0.0
    threads: int = 1

    @property
    def size(self) -> int:
        return sum(self.slots.values()) if self.slots else self.workers


def forecast(
    *,
    run: Path,
    workforce: Workforce,
    tiles: tuple[str, ...] | None = None,
    earlier: tuple[Path, ...] = (),
) -> Forecast:
    """Forecast what is left of a run, and keep it in ``forecast.json``.

    ``tiles``: only these are done, anew. ``earlier``: runs whose records count where this one has
    too few, behind those that its plan names. A run with nothing left to classify keeps the
    forecast that it has. ConfigError if there is no plan.
    """
    folder = RunFolder(run)
    made = forecast_of(folder, workforce, tiles=tiles, earlier=earlier)
    if made.tiles or not folder.forecast_file.exists():
        commit_over(folder.forecast_file, made.to_bytes())
    return made


def forecast_of(
    folder: RunFolder,
    workforce: Workforce,
    *,
    tiles: tuple[str, ...] | None = None,
    earlier: tuple[Path, ...] = (),
) -> Forecast:
    """The same, kept nowhere; also of a plan that is not stored yet (``RunFolder.under``)."""
    return _Forecaster(folder, workforce, tiles or (), earlier).made()


class _Forecaster:
    def __init__(
        self,
        folder: RunFolder,
        workforce: Workforce,
        again: tuple[str, ...],
        earlier: tuple[Path, ...],
    ) -> None:
        self.folder, self.plan, self.workforce = folder, folder.plan, workforce
        fates = list(survey(folder))
        left = work_left(folder, fates=fates)
        self.left = [fate.tile for fate in fates if fate.classes in ("computed", "derived")]
        self.done = [fate.tile.name for fate in fates if fate.classes in ("here", "taken")]
        self.again = folder.tiles(None, again)
        self.wanted = self.again or [f.tile for f in fates if f.classes == "computed"]
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
        self.similar = [run for path in paths if (run := similar_run(self.plan, path))]
        self.voxels = prod(self.plan.shape)
        self.raw_bytes = disk_needed(self.plan)["volume"]

    def made(self) -> Forecast:
        classes, results = self._classes()
        seconds, basis = self._classify()
        steps = (
            self._whole("ingest", self.raw_bytes),
            self._whole("split", self._sub_volume_bytes()),
            _step("classify", len(self.wanted), seconds, basis),
            self._whole("merge", results.expected / 2),
            self._whole("verify", results.expected / 2),
        )
        return Forecast(
            plan=self.plan.digest,
            before="classify",
            tiles=len(self.wanted),
            workers=self.workforce.size,
            steps=steps,
            hours=reduce(Range.plus, (step.hours for step in steps)),
            disk=self._disk(classes, results),
            results=results,
            memory=memory_needed(self.plan, self.workforce.threads),
            basis=basis,
        )

    def _sub_volume_bytes(self) -> float:
        """A file that only refers to the volume takes as long as these bytes."""
        return disk_needed(self.plan)["tiles"] or _REFERENCE * len(self.plan.grid)

    def _share(self, step: Step) -> float:
        """What is left of a step, of all its pieces."""
        of = {"ingest": len(self.plan.slabs), "split": len(self.plan.grid)}
        return self.pieces[step] / of.get(step, 1)

    def _classify(self) -> tuple[Range, str]:
        """Seconds, and what they rest on."""
        if not self.wanted:
            return Range.exactly(0), NOTHING_LEFT
        force, plan = self.workforce, self.plan
        work, units, beside = sum(work_of(plan, t) for t in self.wanted), len(self.wanted), _BEGIN
        pause = force.pause or 0.0
        if force.batches:
            pause = _PAUSE if force.pause is None else force.pause
            batches = len({tile.index // plan.batch_size for tile in self.wanted})
            # A batch that has nothing left is a task all the same, unless tiles were named.
            beside = 0 if self.again else (plan.batches - batches) * pause / force.size
            if self.again or batches <= force.size:
                units = batches
            else:  # who is done with his last one helps the others (steps.help)
                pause *= batches / units
        samples, basis = self._samples()
        if not samples:
            each = work / units / VOXELS_A_SECOND[plan.spec.engine] / force.threads + pause
            guess = float(ends(units, np.full((1, force.size), each))[0])
            return Range.within(guess, _GUESS), NOTHING_MEASURED
        places = force.slots or places_like(samples, force.size)
        found = time_for(samples, places, units, work, len(self.wanted), pause)
        return found.plus(Range.exactly(beside)), basis

    def _samples(self) -> tuple[list[Sample], str]:
        samples, where = times(self.folder, self.done), ""
        for old in self.similar:
            if len(samples) >= _ENOUGH:
                break
            samples += times(old, names_of(old))
            where = f", records of {old.path.name} among them"
        hosts = len({sample.host for sample in samples})
        if len(samples) == 1:
            return samples, f"one tile only{where}"
        return samples, f"{len(samples)} tiles on {hosts} host{'s'[: hosts > 1]}{where}"

    def _whole(self, step: Step, size: float) -> StepForecast:
        """A step that is not forecast tile by tile; ``size``: bytes if all of it is left."""
        share = self._share(step)
        if not share:
            return _step(step, 0, Range.exactly(0), NOTHING_LEFT)
        side_by_side = self.workforce.size if step in ("ingest", "split") else 1
        if step == "ingest":
            side_by_side = min(side_by_side, len(self.plan.slabs))
        rate = seconds_a_voxel([self.folder, *self.similar], step)
        if rate is not None:
            seconds = Range.within(rate * self.voxels * share / side_by_side, _LIKE_BEFORE)
            basis = "measured before"
        else:
            size = (size or self.raw_bytes) * share
            expected = _BEGIN + size / _BYTES_A_SECOND[step] / side_by_side
            seconds, basis = Range.within(expected, _GUESS), "not measured yet"
        return _step(step, self.pieces[step], seconds, basis)

    def _classes(self) -> tuple[Range, Range]:
        """Bytes of the class files to come, and of all of them with the merged file."""
        left = sum(tile.core.size for tile in self.left)
        found = sizes(self.folder, self.done)
        for old in self.similar:
            found = found or sizes(old, names_of(old))
        if found:
            rate = sum(s.seconds for s in found) / sum(s.work for s in found)
            classes = total_of(found, left, len(self.left))
            there = Range.exactly(rate * (self.voxels - left))
        else:
            most = disk_needed(self.plan)["classes"]
            classes = Range.within(most * _CLASSES_SHARE, 1 / _CLASSES_SHARE)
            there = Range.exactly(0)
        return classes, classes.plus(there).times(2)

    def _disk(self, classes: Range, results: Range) -> Range:
        tiles = disk_needed(self.plan)["tiles"] * self._share("split")
        known = self.raw_bytes * self._share("ingest") + tiles
        merged = self.pieces["merge"] / 2
        # The merged file is as large as the class files are: an error of the one is in the other.
        return Range(
            low=known + classes.low + merged * results.low,
            expected=known + classes.expected + merged * results.expected,
            high=known + classes.high + merged * results.high,
        )


def _step(step: Step, pieces: int, seconds: Range, basis: str) -> StepForecast:
    return StepForecast(step=step, pieces=pieces, hours=seconds.times(1 / 3600), basis=basis)
