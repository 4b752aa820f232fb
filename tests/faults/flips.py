"""Harm to any file of a run, at any time: what comes of it.

    python -m tests.faults.flips 40            a bit flipped at 40 places of each kind of file
    python -m tests.faults.flips --all         ... in every byte
    python -m tests.faults.flips 4 --between   any harm between any two steps

Without ``--between`` the run is finished; all bytes are read then (``tbseg verify --deep``,
``tbseg publish``). With it, the run goes on. If something is noticed, ``tbseg repair`` is given
once, and the steps that are left.

harmless   every reader still reads the same; with --between: the result is right
mended     noticed, and right after that one command
unseen     another content that was called verified
wedged     still wrong after the command; or a crash, a hang, a defect of tbseg
"""

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, NamedTuple

from tbseg_ops import steps
from tbseg_ops.errors import TbsegError
from tbseg_ops.hdf5 import arms_length
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.faults.forks import Fork
from tests.faults.harm import HARMS, exchange, replace
from tests.runs import datasets, same
from tests.tiny import Tiny, quickly

Outcome = Literal["harmless", "mended", "unseen", "wedged"]
OUTCOMES: tuple[Outcome, ...] = ("harmless", "mended", "unseen", "wedged")
STEPS = ("plan", "ingest", "split", "classify", "merge", "verify", "publish")
SECONDS = 60.0  # after which a trial counts as one that never ends
TILE = "z000_y000_x001"
# What is harmed -> in which run, and where it lies there.
KINDS = {
    "plan.json": ("holds", "plan.json"),
    "spec.json": ("holds", "spec.json"),
    "inputs.json": ("holds", "inputs.json"),
    "record of a slab": ("holds", "records/ingest/*.json"),
    "record of a sub-volume": ("holds", f"records/split/{TILE}.json"),
    "record of a class file": ("holds", f"records/classify/{TILE}.json"),
    "record of the merged file": ("holds", "records/merge/volume.json"),
    "record of the verification": ("holds", "records/verify/volume.json"),
    "slab": ("holds", "volume/*.h5"),
    "slab that refers": ("refers", "volume/*.h5"),
    "volume.h5": ("holds", "volume.h5"),
    "sub-volume": ("refers", f"tiles/{TILE}.*.h5"),
    "sub-volume that refers": ("holds", f"tiles/{TILE}.*.h5"),
    "class file": ("holds", f"classes/{TILE}.*.h5"),
    "segmentation.h5": ("holds", "segmentation.h5"),
    "report.html": ("holds", "report.html"),
    "ro-crate-metadata.json": ("holds", "ro-crate-metadata.json"),
}
SPECS = {"holds": {}, "refers": {"ingest": "refer", "split": "copy"}}
HARMED = (*HARMS, "exchange", "replace")
RESULT = ("segmentation.h5",)
# What a reader of these files reads: the same after a harmless flip.
READ = (*RESULT, "classes/*.h5", "volume/*.h5", "tiles/*.h5", "volume.h5")


class Trial(NamedTuple):
    """``how`` a file is harmed, ``where`` (see ``harm.HARMS``), and after which step."""

    kind: str
    how: str
    where: float
    after: str = "publish"


@dataclass(frozen=True)
class Tried:
    """What came of it, and what was said: first when it was noticed, if it was."""

    outcome: Outcome
    told: str


class Runs:
    """Runs as they are after each step, in ``folder``; with the same of another volume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiny = Tiny(folder)
        for run, spec in SPECS.items():
            for name in ("second", "first"):
                path = folder / name / run
                steps.plan(spec=self.tiny.spec(name, **spec), run=path)
                for step in STEPS:
                    if step != "plan":
                        getattr(steps, step)(run=path)
                    shutil.copytree(path, self.after(step, run, name))

    def after(self, step: str, run: str, name: str = "first") -> Path:
        return self.folder / f"after {step}" / name / run

    def has(self, trial: Trial) -> bool:
        """Whether there is such a file then, and another one to exchange it with."""
        run, pattern = KINDS[trial.kind]
        there = self.after(trial.after, run)
        path = min(there.glob(pattern), default=None)
        return path is not None and (trial.how != "exchange" or len(_others(there, path)) > 0)


def tried(runs: Runs, run: Path, between: bool, trial: Trial) -> Tried:
    """``run``: where it is done; nothing is left there. ``between``: the run goes on."""
    kept, pattern = KINDS[trial.kind]
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(runs.after(trial.after, kept), run)
    _harm(runs, run, kept, pattern, trial)
    whole = runs.after("publish", kept)
    try:
        return _on(run, whole, trial.after) if between else _looked_at(run, whole)
    except Exception as error:
        return Tried("wedged", f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(run)


def _harm(runs: Runs, run: Path, kept: str, pattern: str, trial: Trial) -> None:
    path = min(run.glob(pattern))
    if trial.how in HARMS:
        HARMS[trial.how](path, trial.where)
        return
    if trial.how == "replace":
        (other, *_) = sorted(runs.after(trial.after, kept, "second").glob(pattern))
        replace(path, other)
        return
    exchange(path, _others(run, path)[0])


def _others(run: Path, path: Path) -> list[Path]:
    """Files like that one; those beside it first."""
    others = sorted(p for p in run.rglob(f"*{path.suffix}") if p != path)
    return sorted(others, key=lambda p: p.parent != path.parent)


def _looked_at(run: Path, whole: Path) -> Tried:
    try:
        _ = RunFolder(run).plan, RunFolder(run).inputs
        steps.verify(run=run, deep=True)
        steps.publish(run=run)
    except TbsegError as error:
        steps.repair(run=run)
        steps.verify(run=run, deep=True)
        return Tried("mended" if _is_right(run, whole, READ) else "wedged", str(error))
    return Tried("harmless" if _is_right(run, whole, READ) else "unseen", "")


def _on(run: Path, whole: Path, after: str) -> Tried:
    told = "it is not verified"
    try:
        for step in STEPS[STEPS.index(after) + 1 :]:
            getattr(steps, step)(run=run)
        if status(run=run).verified:
            return Tried("harmless" if _is_right(run, whole, RESULT) else "unseen", "")
    except TbsegError as error:
        told = str(error)
    steps.repair(run=run)
    for step in STEPS[1:]:
        getattr(steps, step)(run=run)
    return Tried("mended" if _is_right(run, whole, RESULT) else "wedged", told)


def _is_right(run: Path, whole: Path, patterns: tuple[str, ...]) -> bool:
    names = [p.relative_to(whole) for pattern in patterns for p in whole.glob(pattern)]
    return status(run=run).verified and all(
        same(datasets(run / name), datasets(whole / name)) for name in names
    )


def places(runs: Runs, kind: str, count: int | None) -> Iterator[float]:
    """Spread over a file, the same ones each time; one in each byte at most, or in every one."""
    run, pattern = KINDS[kind]
    size = min(runs.after("publish", run).glob(pattern)).stat().st_size
    chosen = random.Random(kind)
    count = min(size, count or size)
    for number in range(count):
        yield (number + chosen.random()) / count


def flips(runs: Runs, count: int | None) -> Iterator[Trial]:
    for kind in KINDS:
        for where in places(runs, kind, count):
            yield Trial(kind, "flip", where)


def harms(runs: Runs, count: int | None) -> Iterator[Trial]:
    """After each step, to each kind of file that is there then."""
    for step in STEPS[:-1]:
        for kind in KINDS:
            for how in HARMED:
                several = count if how in ("flip", "truncate") else 1
                for where in places(runs, kind, several):
                    if runs.has(trial := Trial(kind, how, where, step)):
                        yield trial


class Trying:
    """``workers`` processes that try."""

    def __init__(self, runs: Runs, workers: int, *, between: bool) -> None:
        self._free: SimpleQueue[Fork] = SimpleQueue()
        self._forks = [
            Fork(partial(tried, runs, runs.folder / f"run {number}", between))
            for number in range(workers)
        ]
        for fork in self._forks:
            self._free.put(fork)

    def __call__(self, trial: Trial) -> Tried:
        fork = self._free.get()
        try:
            never = Tried("wedged", f"a crash, or more than {SECONDS:.0f} s")
            found: Tried = fork.ask(trial, SECONDS) or never
            return found
        finally:
            self._free.put(fork)

    def end(self) -> None:
        for fork in self._forks:
            fork.end()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.flips")
    parser.add_argument("count", nargs="?", type=int, default=12, help="places in each file")
    parser.add_argument("--all", action="store_true", help="every byte")
    parser.add_argument("--between", action="store_true", help="between the steps, and any harm")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    arms_length._SECONDS = 2.0
    rows: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name, quickly():
        runs = Runs(Path(name))
        trials = list((harms if given.between else flips)(runs, None if given.all else given.count))
        trying = Trying(runs, given.workers, between=given.between)
        with ThreadPoolExecutor(given.workers) as pool:
            for trial, found in zip(trials, pool.map(trying, trials), strict=True):
                row = f"after {trial.after}, {trial.how}" if given.between else trial.kind
                rows.setdefault(row, Counter())[found.outcome] += 1
                if found.outcome in ("unseen", "wedged"):
                    print(found.outcome, trial, found.told[:300].replace("\n", " | "), flush=True)
        trying.end()
    print("".join(f"{word:>10}" for word in ("tried", *OUTCOMES)))
    for row, outcomes in rows.items():
        counts = (outcomes.total(), *(outcomes[outcome] for outcome in OUTCOMES))
        print("".join(f"{n:10}" for n in counts), f"  {row}", flush=True)


if __name__ == "__main__":
    main()
