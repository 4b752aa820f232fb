"""What ``plan`` and ``run`` are to work on: a registered dataset, or what the arguments name."""

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from tbseg_ops import datasets, steps
from tbseg_ops.cli.options import Given
from tbseg_ops.datasets import Claim, Dataset, Runs, claim_of, get, release
from tbseg_ops.errors import TbsegError
from tbseg_ops.options import Target
from tbseg_ops.processes.identity import Process
from tbseg_ops.run import Plan, RunFolder, RunSpec
from tbseg_ops.run.result import Progress


@dataclass(frozen=True)
class Work:
    """A run to plan; of a registered dataset: that one, and the claim under which it is done."""

    spec: RunSpec
    run: Path
    update: bool
    earlier: tuple[Path, ...]
    name: str | None = None
    dataset: Dataset | None = None
    claim: Claim | None = None

    def plan(self, progress: Progress, **batches: Any) -> Plan:
        """``batches``: ``places`` and ``task_seconds`` of ``steps.plan``."""
        return steps.plan(
            spec=self.spec,
            run=self.run,
            update=self.update,
            earlier=self.earlier,
            progress=progress,
            **batches,
        )


def begun(
    spec: Given[RunSpec],
    target: Given[Target],
    of_dataset: Callable[[str], AbstractContextManager[Work]],
) -> AbstractContextManager[Work]:
    """The work that the command line names; ``of_dataset`` makes it of a registered dataset.

    Wrong usage if something is missing, or given beside a dataset that has it of its own.
    """
    chosen = target.made()
    if chosen.dataset is None:
        if chosen.run is None or not {"volume", "classifier"} <= spec.values.keys():
            raise typer.BadParameter("give VOLUME CLASSIFIER RUN_DIR, or --dataset NAME")
        return nullcontext(Work(spec.made(), chosen.run, chosen.update, chosen.earlier))
    more = [*spec.typed, *(option for option in target.typed if option != "--dataset")]
    if more:
        raise typer.BadParameter(
            f"--dataset stands for {', '.join(more)}, too: a dataset has a volume, a classifier, a"
            " run folder and options of its own; change it (tbseg dataset add --replace), or leave"
            " them out"
        )
    return of_dataset(chosen.dataset)


@contextmanager
def claimed(
    name: str,
    *,
    holder: str,
    process: Process | None = None,
    supersede: str | None = None,
    again: bool = False,
) -> Iterator[Work]:
    """The next run of a dataset, claimed; the newest one even if it is finished, if ``again``.

    The claim of a ``process`` is given up at the end; another one if the body fails, unless it was
    the holder's before.
    """
    dataset = get(name)
    runs = Runs(Path(dataset.runs), name)
    before = claim_of(runs)
    held = datasets.claim_next(
        runs, holder=holder, process=process, supersede=supersede, again=again
    )
    earlier = tuple(
        run for number in held.earlier if RunFolder(run := runs.path / number).plan_file.is_file()
    )
    work = Work(dataset.spec, runs.path / held.run, True, earlier, name, dataset, held)
    try:
        yield work
    except BaseException:
        if before is None or before.token != held.token:
            with suppress(TbsegError):  # the first error is the one to tell
                release(runs, held.token)
        raise
    if process is not None:
        release(runs, held.token)


@contextmanager
def looked_at(name: str) -> Iterator[Work]:
    """The run that would be next of a dataset; nothing is claimed, and no new folder is left."""
    dataset = get(name)
    choice = datasets.choose(Runs(Path(dataset.runs), name))
    run, earlier = Path(choice.run), tuple(map(Path, choice.earlier))
    is_new = not run.exists()
    try:
        yield Work(dataset.spec, run, True, earlier, name, dataset)
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty: somebody has begun the run
                run.rmdir()


def user() -> str:
    """The log-in name; the number of the user where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
