"""tbseg sbatch: a planned run as jobs of SLURM."""

from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops.hosts.sbatch import submit
from tbseg_ops.run import RunFolder


def sbatch(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a plan.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- SBATCH_OPTIONS]",
            help="For each job, as sbatch takes them: -- --mem=8G --cpus-per-task=4 --time=4:00:00",
        ),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Most tasks of classify that run at a time.")
    ] = None,
) -> None:
    """Queue a planned run in SLURM: jobs that wait for each other, classify as an array.

    Nothing has to stay up meanwhile. After a failure the same command continues the run.
    """
    folder = RunFolder(run_dir)
    for job in submit(folder, options or (), at_once):
        tasks = f", an array of {job.tasks}" if job.tasks > 1 else ""
        print(f"{job.step:<9} job {job.number}{tasks}")
    print(f"output in {run_dir}/slurm; see tbseg status {run_dir}, squeue; end it: tbseg cancel")
