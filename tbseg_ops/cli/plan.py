"""tbseg plan: audit the input, cut the volume into tiles, check the room, write the plan."""

from tbseg_ops.cli.common import Json, emit
from tbseg_ops.cli.specs import (
    Classifier,
    EngineOption,
    Mask,
    MaxBatches,
    OutputOption,
    ProbabilitiesOption,
    ProbabilityDtypeOption,
    RunDir,
    SplitOption,
    TileOption,
    Update,
    Volume,
    make_spec,
)
from tbseg_ops.run import Plan
from tbseg_ops.steps import disk_needed, memory_needed
from tbseg_ops.steps import plan as plan_step


def plan(
    volume: Volume,
    classifier: Classifier,
    run_dir: RunDir,
    tile: TileOption = "256,256,256",
    engine: EngineOption = "native",
    output: OutputOption = "mask",
    probabilities: ProbabilitiesOption = "none",
    probability_dtype: ProbabilityDtypeOption = "float32",
    split: SplitOption = "copy",
    mask: Mask = None,
    max_batches: MaxBatches = 500,
    update: Update = False,
    as_json: Json = False,
) -> None:
    """Audit the input and write the plan of a run."""
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
    made = plan_step(spec=spec, run=run_dir, update=update)
    if as_json:
        emit(
            {
                "run": str(run_dir.absolute()),
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
