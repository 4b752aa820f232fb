"""tbseg repair: what is damaged of a run is made anew, and nothing else."""

from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, emit, lines
from tbseg_ops.cli.options import with_options
from tbseg_ops.errors import printable
from tbseg_ops.options import Effort
from tbseg_ops.run import team
from tbseg_ops.run.cancellation import watch


@with_options
def repair(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
    effort: Annotated[Effort, "threads", "workers"],
    as_json: Json = False,
) -> None:
    """Make exactly what is damaged of a run anew; all bytes of its files are read.

    Damaged files are set aside, never removed. A run that had a result has a verified one then.
    """
    watch(run_dir)
    found = steps.repair(
        run=run_dir,
        threads=effort.threads,
        team=team(effort.workers or ALL_CORES),
        progress=lines("repair"),
    )
    if as_json:
        emit(found)
        return
    for line in found.damaged:
        print(f"damaged  {printable(line)}")
    print("nothing was damaged" if not found.damaged else "all of it is made anew or forgotten")
    if found.result is None:
        print("the run has no result yet: the command that began it goes on from here")
    else:
        print(f"verified  {found.result}")
