"""tbseg calibrate and tbseg forecast: how long a run will take, and how much disk and memory."""

import re
from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops import steps
from tbseg_ops.cli.common import (
    ALL_CORES,
    Json,
    RunOption,
    Threads,
    Workers,
    conclude,
    emit,
    lines,
    names,
    path_here,
)
from tbseg_ops.forecast import Workforce
from tbseg_ops.forecast import forecast as forecast_left
from tbseg_ops.forecast.words import between, duration, size, summary
from tbseg_ops.run import team
from tbseg_ops.run.cancellation import watch
from tbseg_ops.steps.calibrate import COUNT


def calibrate(
    run: RunOption,
    count: Annotated[int, typer.Option(min=0, max=1000, help="So many tiles.")] = COUNT,
    part: Annotated[
        str, typer.Option(metavar="I/N", help="Of these, the I-th of N shares, from 0.")
    ] = "0/1",
    workers: Workers = ALL_CORES,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Classify a few tiles of the run, spread over the volume, for a forecast."""
    watch(run)
    crew = team(workers)
    result = steps.calibrate(
        run=run,
        count=count,
        part=_part(part),
        threads=threads,
        team=crew,
        progress=lines("calibrate"),
    )
    conclude(result, crew, as_json)


def forecast(
    run: RunOption,
    workers: Annotated[
        int, typer.Option(min=1, max=100_000, help="Tiles side by side.", show_default="all cores")
    ] = ALL_CORES,
    slots: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST=N",
            help="So many of them on this host; give it for each. A host that is not in the"
            " records counts as one like the others.",
        ),
    ] = None,
    tiles: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Only these are computed, anew.")
    ] = None,
    batches: Annotated[
        bool, typer.Option("--batches", help="Work is handed out in whole batches.")
    ] = False,
    pause: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds that each tile or batch takes beyond its work.",
            show_default="3 of batches, else 0",
        ),
    ] = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A run whose records count, too, if this one has too few; may be repeated.",
            parser=path_here,
        ),
    ] = None,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Forecast hours, disk and memory of what is left of a run, with intervals."""
    found = forecast_left(
        run=run,
        workforce=Workforce(workers, _slots(slots or []), batches, pause, threads),
        tiles=names(tiles) if tiles else None,
        earlier=tuple(earlier or ()),
    )
    if as_json:
        short = {  # what a task's log and result show of it
            "expected": duration(found.hours.expected),
            "interval": between(found.hours),
            "more_disk": size(found.disk.expected),
        }
        emit({"step": "forecast", **found.model_dump(mode="json"), **short})
        return
    for line in summary(found):
        print(line)


def _part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise typer.BadParameter(f"expected I/N with I below N, found {text!r}")
    return int(match[1]), int(match[2])


def _slots(texts: list[str]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for text in texts:
        host, _, number = text.rpartition("=")
        if not host or not re.fullmatch("[0-9]{1,6}", number) or not int(number):
            raise typer.BadParameter(f"expected HOST=N with N from 1, found {text!r}")
        found[host] = found.get(host, 0) + int(number)
    return found or None
