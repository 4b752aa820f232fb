"""tbseg plan: audit the input, cut the volume into tiles, check the room, write the plan."""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

from tbseg_ops.cli.begin import (
    DatasetOption,
    Work,
    all_given,
    by_user,
    claimed,
    looked_at,
    nothing_else,
)
from tbseg_ops.cli.common import ALL_CORES, Json, emit
from tbseg_ops.cli.specs import (
    ClassifierOrNone,
    Earlier,
    EngineOption,
    Mask,
    MaxBatches,
    OutputOption,
    ProbabilitiesOption,
    ProbabilityDtypeOption,
    RunDirOrNone,
    SplitOption,
    TileOption,
    Update,
    VolumeOrNone,
    make_spec,
)
from tbseg_ops.forecast import Workforce, disk_needed, forecast_of, memory_needed
from tbseg_ops.forecast.words import summary as forecast_lines
from tbseg_ops.run import Plan, RunFolder
from tbseg_ops.run.result import silent
from tbseg_ops.run.work_left import work_left
from tbseg_ops.steps import draft

Explain = Annotated[
    bool, typer.Option("--explain", help="Only say what would be computed, and why; plan nothing.")
]


def plan(
    context: typer.Context,
    volume: VolumeOrNone = None,
    classifier: ClassifierOrNone = None,
    run_dir: RunDirOrNone = None,
    dataset: DatasetOption = None,
    tile: TileOption = "256,256,256",
    engine: EngineOption = "native",
    output: OutputOption = "mask",
    probabilities: ProbabilitiesOption = "none",
    probability_dtype: ProbabilityDtypeOption = "float32",
    split: SplitOption = "copy",
    mask: Mask = None,
    max_batches: MaxBatches = 500,
    update: Update = False,
    earlier: Earlier = None,
    explain: Explain = False,
    holder: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Who claims the dataset.", show_default="this command and its user"
        ),
    ] = None,
    supersede: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="A claim of the dataset whose holder is dead."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option(help="Of the dataset's newest run, even if it is finished."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Audit the input and write the plan of a run; with --explain, say what it would do and why.

    With --dataset: of the dataset's next run, which holds its claim until it is published.
    """
    begun: AbstractContextManager[Work]
    if dataset is not None:
        nothing_else(context)
        claimer = holder or by_user("tbseg plan")
        begun = (
            looked_at(dataset)
            if explain
            else claimed(dataset, holder=claimer, supersede=supersede, again=again)
        )
    else:
        volume, classifier, run_dir = all_given(volume, classifier, run_dir)
        if holder is not None or supersede is not None or again:
            raise typer.BadParameter("--holder, --supersede and --again are for --dataset")
        spec = make_spec(
            volume,
            classifier,
            mask,
            probabilities,
            tile,
            engine=engine,
            output=output,
            probability_dtype=probability_dtype,
            split=split,
            max_batches=max_batches,
        )
        begun = nullcontext(Work(spec, run_dir, update, tuple(earlier or ())))
    with begun as work:
        if explain:
            future = draft(spec=work.spec, run=work.run, earlier=work.earlier)
            explained(future, as_json)
            return
        made = work.plan(silent)
    if as_json:
        emit(
            {
                "dataset": work.name,
                "claim": work.claim.token if work.claim is not None else None,
                "run": str(work.run.absolute()),
                "tiles": len(made.grid),
                "batches": made.batches,
                "slabs": len(made.slabs),
                "labels": list(made.classifier.labels),
                "halo": list(made.grid_model.halo),
                "bytes": disk_needed(made),
                "memory": memory_needed(made),
                "notes": list(made.notes),
            }
        )
        return
    for line in summary(made):
        print(line)
    if dataset is not None:
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
