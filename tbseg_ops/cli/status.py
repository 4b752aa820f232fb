"""tbseg status: how far a run is."""

from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops.cli.common import Json, emit
from tbseg_ops.errors import printable
from tbseg_ops.run.status import status as status_step


def status(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
    as_json: Json = False,
) -> None:
    """Show how many pieces of each step are finished under the present plan."""
    found = status_step(run=run_dir)
    if as_json:
        emit(found)
        return
    for step in found.steps:
        names = ", ".join(step.missing[:4]) + (", ..." if len(step.missing) > 4 else "")
        print(
            f"{step.step:9} {step.done:6} of {step.total}"
            + (f"   missing {names}" if names else "")
        )
    if found.segmentation is not None:
        print(found.segmentation + ("" if found.verified else " (not verified)"))
    for path in found.exported:
        print(path)
    for text in found.warnings:
        print(f"warning  {printable(text)}")
    if found.pruned:
        print(f"removed by tbseg gc: {', '.join(found.pruned)}")
