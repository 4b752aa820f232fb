"""tbseg split and tbseg classify: the steps that work on batches of tiles or on chosen tiles."""

from typing import Annotated

import typer

from tbseg_ops.cli.common import (
    ALL_CORES,
    Json,
    RunOption,
    Threads,
    Workers,
    conclude,
    lines,
    names,
)
from tbseg_ops.run import team
from tbseg_ops.run.cancellation import watch
from tbseg_ops.steps import classify as classify_step
from tbseg_ops.steps import split as split_step

Batch = Annotated[
    int | None,
    typer.Option(min=0, help="Only this batch of the plan, and of it only what is missing."),
]
Tiles = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Only these tiles, computed anew even if done."),
]


def split(
    run: RunOption,
    batch: Batch = None,
    tiles: Tiles = None,
    workers: Workers = ALL_CORES,
    as_json: Json = False,
) -> None:
    """Write one HDF5 sub-volume per tile, with the exact halo. Also runs under mpiexec."""
    watch(run)
    crew = team(workers)
    result = split_step(
        run=run, batch=batch, tiles=_chosen(batch, tiles), team=crew, progress=lines("split")
    )
    conclude(result, crew, as_json)


def classify(
    run: RunOption,
    batch: Batch = None,
    tiles: Tiles = None,
    workers: Workers = ALL_CORES,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Classify tiles: K class arrays each. Also runs under mpiexec."""
    watch(run)
    crew = team(workers)
    result = classify_step(
        run=run,
        batch=batch,
        tiles=_chosen(batch, tiles),
        threads=threads,
        team=crew,
        progress=lines("classify"),
    )
    conclude(result, crew, as_json)


def _chosen(batch: int | None, tiles: str | None) -> tuple[str, ...] | None:
    if tiles is None:
        return None
    if batch is not None:
        raise typer.BadParameter("give --batch or --tiles, not both")
    chosen = names(tiles)
    if not chosen:
        raise typer.BadParameter("--tiles names no tile")
    return chosen
