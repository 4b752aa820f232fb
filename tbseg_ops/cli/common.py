"""Options that several commands share, and how results and progress are printed."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from tbseg_ops.cli.options import declared
from tbseg_ops.options import Effort
from tbseg_ops.run import Team
from tbseg_ops.run.result import Progress, StepResult
from tbseg_ops.settings import here

Json = Annotated[bool, typer.Option("--json", help="Last line of output: one JSON object.")]


def path_here(text: str) -> Path:
    """A path as this machine has it, of one that may have been written for another."""
    return Path(here(str(text)))


RunOption = Annotated[
    Path,
    typer.Option("--run", metavar="DIR", help="The run folder.", parser=path_here),
]
Workers = Annotated[int, declared(Effort, "workers")]
Threads = Annotated[int, declared(Effort, "threads")]

ALL_CORES = len(os.sched_getaffinity(0))


def emit(value: BaseModel | dict[str, object]) -> None:
    """Print one JSON object on one line."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    print(json.dumps(data), flush=True)


def conclude(result: StepResult, team: Team, as_json: bool) -> None:
    """Print a step's result, at the root only."""
    if not team.is_root:
        return
    if as_json:
        emit(result)
        return
    print(f"{result.step}: {how_done(result)}; {result.seconds:.1f} s")
    if result.file is not None:
        print(result.file)


def how_done(result: StepResult) -> str:
    """How the pieces of a step came to be done."""
    here = result.reused - result.taken - result.derived
    parts = [f"{result.computed} computed", f"{here} already done"]
    if result.taken:
        parts.append(f"{result.taken} taken over")
    if result.derived:
        parts.append(f"{result.derived} derived from labels")
    return ", ".join(parts)


def lines(step: str) -> Progress:
    """A Progress that prints to standard error: each piece, but of slices every tenth part."""

    def line(piece: str, what: str, done: int, total: int) -> None:
        if piece == "slices" and done < total and done * 10 // total == (done - 1) * 10 // total:
            return
        print(f"{step} {piece}: {what} ({done} of {total})", file=sys.stderr, flush=True)

    return line


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
