"""The single steps on a planned run: tbseg ingest, split, classify, merge, verify and publish."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, RunOption, conclude, lines, names
from tbseg_ops.cli.options import with_options
from tbseg_ops.datasets import release_finished
from tbseg_ops.options import Effort
from tbseg_ops.run import Alone, team
from tbseg_ops.run.cancellation import watch
from tbseg_ops.run.result import StepResult

Batch = Annotated[
    int | None,
    typer.Option(min=0, help="Only this batch of the plan, and of it only what is missing."),
]
Again = Annotated[bool, typer.Option("--again", help="All of it anew, even if it is done.")]
Deep = Annotated[
    bool, typer.Option("--deep", help="Read all bytes of slabs, sub-volumes and class files, too.")
]
Tiles = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Only these tiles, computed anew even if done."),
]
Workers = Annotated[Effort, "workers"]
WorkersAndThreads = Annotated[Effort, "threads", "workers"]


@with_options
def ingest(run: RunOption, effort: Workers, as_json: Json = False) -> None:
    """Write the slices as one 3D HDF5 dataset. Also runs under mpiexec."""
    _do(steps.ingest, run, effort, as_json)


@with_options
def split(
    run: RunOption,
    effort: Workers,
    batch: Batch = None,
    tiles: Tiles = None,
    again: Again = False,
    as_json: Json = False,
) -> None:
    """Write one HDF5 sub-volume per tile, with the exact halo. Also runs under mpiexec."""
    chosen = _chosen(batch, tiles)
    _do(steps.split, run, effort, as_json, batch=batch, tiles=chosen, again=again)


@with_options
def classify(
    run: RunOption,
    effort: WorkersAndThreads,
    batch: Batch = None,
    tiles: Tiles = None,
    again: Again = False,
    as_json: Json = False,
) -> None:
    """Classify tiles: K class arrays each. Also runs under mpiexec."""
    chosen = _chosen(batch, tiles)
    more = {"batch": batch, "tiles": chosen, "again": again, "threads": effort.threads}
    _do(steps.classify, run, effort, as_json, **more)


@with_options
def merge(run: RunOption, effort: Workers, as_json: Json = False) -> None:
    """Merge the tiles into K class arrays of the volume. Also runs under mpiexec."""
    _do(steps.merge, run, effort, as_json)


@with_options
def verify(
    run: RunOption, effort: WorkersAndThreads, deep: Deep = False, as_json: Json = False
) -> None:
    """Check that the result is complete, undamaged, current and without seams."""
    _do(steps.verify, run, effort, as_json, threads=effort.threads, deep=deep)


def publish(run: RunOption, as_json: Json = False) -> None:
    """Write the report of the run and its RO-Crate. A dataset's run gives up its claim then."""
    watch(run)
    result = steps.publish(run=run)
    release_finished(run)
    conclude(result, Alone(), as_json)


def _do(
    step: Callable[..., StepResult], run: Path, effort: Effort, as_json: bool, **more: object
) -> None:
    """Run a step with its workers, its progress on standard error; print its result."""
    watch(run)
    workers = team(effort.workers or ALL_CORES)
    result = step(run=run, team=workers, progress=lines(step.__name__), **more)
    conclude(result, workers, as_json)


def _chosen(batch: int | None, tiles: str | None) -> tuple[str, ...] | None:
    if tiles is None:
        return None
    if batch is not None:
        raise typer.BadParameter("give --batch or --tiles, not both")
    chosen = names(tiles)
    if not chosen:
        raise typer.BadParameter("--tiles names no tile")
    return chosen
