"""tbseg plan: audit the input, cut the volume into tiles, check the room, write the plan."""

import socket
from functools import partial
from typing import Annotated

import typer

from tbseg_ops.cli.begin import begun, claimed, looked_at, user
from tbseg_ops.cli.common import ALL_CORES, Json, emit
from tbseg_ops.cli.options import Given, with_options
from tbseg_ops.errors import printable
from tbseg_ops.fields import Options, option
from tbseg_ops.forecast import Workforce, disk_needed, forecast_of, memory_needed
from tbseg_ops.forecast.words import summary as forecast_lines
from tbseg_ops.options import Effort, Target
from tbseg_ops.run import Plan, RunFolder, RunSpec
from tbseg_ops.run.result import silent
from tbseg_ops.run.work_left import work_left
from tbseg_ops.steps import draft

Explain = Annotated[
    bool, typer.Option("--explain", help="Only say what would be computed, and why; plan nothing.")
]


class Claiming(Options):
    """How the run of a dataset is claimed."""

    holder: str | None = option(
        None,
        description="Who claims the dataset.",
        metavar="TEXT",
        empty="this command and its user",
    )
    supersede: str | None = option(
        None, description="A claim of the dataset whose holder is dead.", metavar="TOKEN"
    )
    again: bool = option(
        False,
        description="Of the dataset's newest run, even if it is finished.",
        spelling="--again/--no-again",
    )


@with_options
def plan(
    spec: Given[RunSpec],
    target: Given[Target],
    claiming: Given[Claiming],
    effort: Annotated[Given[Effort], "task_seconds"],
    places: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="So many batches are worked on at once, by a scheduler.",
            show_default="nobody: a batch is a tile",
        ),
    ] = None,
    explain: Explain = False,
    as_json: Json = False,
) -> None:
    """Audit the input and write the plan of a run; with --explain, say what it would do and why.

    With --dataset: of the dataset's next run, which holds its claim until it is published.
    """
    if claiming.values and "dataset" not in target.values:
        raise typer.BadParameter(f"{', '.join(claiming.typed)}: only with --dataset")
    holder = f"tbseg plan by {user()} on {socket.gethostname()}"
    how = {"holder": holder} | claiming.values
    with begun(spec, target, looked_at if explain else partial(claimed, **how)) as work:
        if explain:
            future = draft(spec=work.spec, run=work.run, earlier=work.earlier)
            explained(future, as_json)
            return
        own = work.dataset or Effort()
        seconds = effort.made(task_seconds=own.task_seconds).task_seconds
        made = work.plan(silent, places=places, task_seconds=seconds)
    if as_json:
        emit(
            {
                "dataset": work.name,
                "claim": work.claim.token if work.claim is not None else None,
                "run": str(work.run.absolute()),
                "tiles": len(made.grid),
                "batches": made.batches,
                "publish": list(made.spec.publish),
                "slabs": len(made.slabs),
                "labels": list(made.classifier.labels),
                "halo": list(made.grid_model.halo),
                "bytes": disk_needed(made),
                "memory": memory_needed(made),
                "notes": list(made.notes),
                "warnings": list(made.warnings),
            }
        )
        return
    for line in summary(made):
        print(line)
    if work.dataset is not None:
        print(f"run      {work.run}")


def summary(made: Plan) -> list[str]:
    """The plan in a few lines for people."""
    info, grid = made.volume, made.grid
    needed = disk_needed(made)
    return [
        f"volume   {_by(info.shape)} (z, y, x) {info.dtype},"
        f" {info.channels} channel(s), {info.kind}",
        f"classes  {', '.join(made.classifier.labels)}",
        f"tiles    {len(grid)} of at most {_by(grid.core)}, halo {_by(grid.halo)},"
        f" in {made.batches} batch(es); chunks {_by(grid.chunk)}",
        "disk     " + ", ".join(f"{kind} {size / 1e9:.2f} GB" for kind, size in needed.items()),
        f"memory   about {memory_needed(made) / 1e9:.2f} GB for each worker of classify",
        *(f"note     {note}" for note in made.notes),
        *(f"warning  {printable(text)}" for text in made.warnings),
    ]


def explained(future: RunFolder, as_json: bool) -> None:
    """What a plan that is not stored yet would do and why."""
    made = future.plan
    left = work_left(future, RunFolder(future.path).stored_plan())
    found = forecast_of(future, Workforce(ALL_CORES))
    if as_json:
        told = {"run": str(future.path), "forecast": found.model_dump(mode="json")}
        emit({**left.model_dump(mode="json"), **told})
        return
    for line in summary(made):
        print(line)
    print()
    for step in left.steps:
        parts = [f"{step.computed} of {step.total} to compute"]
        parts += [f"{step.here} already done"] if step.here else []
        parts += [f"{step.taken} taken over"] if step.taken else []
        parts += [f"{step.derived} derived from labels"] if step.derived else []
        print(f"{step.step:9} {', '.join(parts)}")
        for reason, count in step.reasons.items():
            print(f"{'':9} {count}: {reason}")
    print(f"{'merge':9} {'already done' if left.merged else 'to do'}")
    print("\non all cores of this machine:")
    for line in forecast_lines(found):
        print(line)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
