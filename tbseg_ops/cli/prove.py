"""tbseg prove: random boxes of a result against another engine, and what that proves."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, Threads, Workers, emit, lines
from tbseg_ops.run import RunFolder, team
from tbseg_ops.steps.prove import FEWEST_BOXES, ILASTIK_BOXES, MOST_BOXES, SIDE


def prove(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
    boxes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="So many boxes. 3000 without a difference prove that fewer than 0.1 % are wrong.",
            show_default=f"{FEWEST_BOXES} to {MOST_BOXES} by size; {ILASTIK_BOXES} with ilastik",
        ),
    ] = None,
    side: Annotated[int, typer.Option(min=8, max=256, help="Voxels of a box on each axis.")] = SIDE,
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other boxes.")] = 0,
    engine: Annotated[
        Literal["auto", "native", "ilastik"],
        typer.Option(help="auto: ilastik if it is installed, else native, without tiles."),
    ] = "auto",
    classifier: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The .ilp, if it lies elsewhere now.")
    ] = None,
    raw: Annotated[
        Literal["auto", "input", "slabs"],
        typer.Option(help="Where voxels are read. auto: the input if it is there, else the slabs."),
    ] = "auto",
    workers: Workers = ALL_CORES,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Predict random boxes of a result again, without tiles, and state how sure it is.

    Needs the run folder, the classifier, and the volume or the run's slabs of it: any machine will
    do. The statement goes into the report and the crate when the run is published again.
    """
    crew = team(workers)
    proof = steps.prove(
        run=run_dir,
        boxes=boxes,
        side=side,
        seed=seed,
        engine=engine,
        classifier=classifier,
        raw_from=raw,
        threads=threads,
        team=crew,
        progress=lines("prove"),
    )
    if not crew.is_root:
        return
    file = str(RunFolder(run_dir).proof_file)
    if as_json:
        bound = {"bound": proof.bound, "statement": proof.statement, "file": file}
        emit({"step": "prove", **proof.model_dump(mode="json"), **bound})
        return
    print(proof.statement)
    for box in proof.different:
        print(box)
    print(file)
