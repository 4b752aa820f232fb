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
    nothing_else,
)
from tbseg_ops.cli.common import Json, emit
from tbseg_ops.cli.specs import (
    ClassifierOrNone,
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
from tbseg_ops.run import Plan
from tbseg_ops.steps import disk_needed, memory_needed
from tbseg_ops.steps.result import silent


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
    as_json: Json = False,
) -> None:
    """Audit the input and write the plan of a run.

    With --dataset: of the dataset's next run, which holds its claim until it is published.
    """
    begun: AbstractContextManager[Work]
    if dataset is not None:
        nothing_else(context)
        begun = claimed(dataset, holder=holder or by_user("tbseg plan"), supersede=supersede)
    else:
        volume, classifier, run_dir = all_given(volume, classifier, run_dir)
        if holder is not None or supersede is not None:
            raise typer.BadParameter("--holder and --supersede are for --dataset")
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
        begun = nullcontext(Work(spec, run_dir, update))
    with begun as work:
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


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
