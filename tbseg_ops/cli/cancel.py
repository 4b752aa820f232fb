"""tbseg cancel: end all work on a run, on whatever machine."""

from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops.run.cancellation import cancel as cancel_run


def cancel(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
) -> None:
    """End all work on a run within seconds, wherever it is done; finished tiles are kept.

    Planning the run again (tbseg plan, tbseg run, or a new Airflow run) takes it back.
    """
    cancel_run(run_dir)
    print(f"{run_dir}: called off; whoever works on it ends within seconds")
