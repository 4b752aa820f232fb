"""tbseg export: what a run gave, for other programs."""

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import typer

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, conclude, lines, names, path_here
from tbseg_ops.cli.options import with_options
from tbseg_ops.errors import ConfigError
from tbseg_ops.options import Effort, Format
from tbseg_ops.run import team, under_mpi
from tbseg_ops.run.cancellation import watch


@with_options
def export(
    effort: Annotated[Effort, "workers"],
    run_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN_DIR", help="The run folder.", parser=path_here, show_default=False
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="RUN_DIR, as the other steps call it.", parser=path_here),
    ] = None,
    to: Annotated[
        Format | None,
        typer.Option(
            help="tiff: one file for each image; tiff-slices: a folder of slices.",
            show_default="what the run was asked for with --publish",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Into this folder.", show_default="RUN_DIR/export"),
    ] = None,
    what: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="raw, labels, CLASS, probabilities:CLASS; a comma in a name is %2C.",
            show_default="labels; for ome-zarr raw, labels and all probability maps",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the result as OME-Zarr or TIFF, for other programs: napari, Fiji, Imaris.

    Give the same command again after any interruption: it goes on. Without --to: what the run
    was asked for (tbseg run --publish), if it is not there yet.
    """
    if under_mpi():
        raise ConfigError("tbseg export is not an MPI program", mend="tbseg export --workers N")
    folder = run_dir or run
    if folder is None or None not in (run_dir, run):
        raise typer.BadParameter("give the folder of a run: tbseg export RUN_DIR")
    if to is None and (what or out):
        raise typer.BadParameter("--what and --out: only with --to")
    watch(folder)
    workers = team(effort.workers or ALL_CORES)
    done = steps.export(
        run=folder,
        to=to,
        out=out,
        what=[unquote(name) for name in names(what or "")],
        team=workers,
        progress=lines("export"),
    )
    conclude(done, workers, as_json)
