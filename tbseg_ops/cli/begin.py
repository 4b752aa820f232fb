"""What ``plan`` and ``run`` are to work on: a registered dataset, or what the arguments name."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops import datasets, steps
from tbseg_ops.datasets import Claim, Dataset, Runs, claim_of, get, release
from tbseg_ops.errors import TbsegError
from tbseg_ops.processes.identity import Process
from tbseg_ops.run import Plan, RunFolder, RunSpec
from tbseg_ops.run.result import Progress

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="A registered dataset, in place of VOLUME CLASSIFIER RUN_DIR and all of its options.",
    ),
]
# Parameters of ``plan`` and ``run`` that a dataset has of its own.
_OF_THE_DATASET = (
    *("volume", "classifier", "run_dir", "tile", "engine", "output", "probabilities"),
    *("probability_dtype", "split", "mask", "max_batches", "update", "earlier"),
)


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

    def plan(self, progress: Progress) -> Plan:
        return steps.plan(
            spec=self.spec,
            run=self.run,
            update=self.update,
            earlier=self.earlier,
            progress=progress,
        )


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


def nothing_else(context: typer.Context) -> None:
    """Wrong usage if the command line holds what the chosen dataset has of its own."""
    more = [name for name in _OF_THE_DATASET if is_given(context, name)]
    if more:
        raise typer.BadParameter(
            f"--dataset stands for {', '.join(more)}, too: change the dataset, or leave it out"
        )


def all_given(
    volume: str | None, classifier: str | None, run_dir: Path | None
) -> tuple[str, str, Path]:
    """The three arguments; wrong usage if one is missing."""
    if volume is None or classifier is None or run_dir is None:
        raise typer.BadParameter("give VOLUME CLASSIFIER RUN_DIR, or --dataset NAME")
    return volume, classifier, run_dir


def is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter is on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def by_user(command: str) -> str:
    """The holder of a claim that outlives its command."""
    return f"{command} by {user()} on {socket.gethostname()}"


def by_process(command: str) -> str:
    """The holder of a claim that goes with its command."""
    return f"{command} on {socket.gethostname()}, process {os.getpid()}"


def user() -> str:
    """The log-in name; the number of the user where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
