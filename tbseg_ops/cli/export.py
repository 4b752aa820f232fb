"""tbseg export: what a run gave, for other programs."""

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import typer

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, conclude, lines, names
from tbseg_ops.cli.options import with_options
from tbseg_ops.errors import ConfigError
from tbseg_ops.options import Effort
from tbseg_ops.run import team, under_mpi
from tbseg_ops.run.cancellation import watch
from tbseg_ops.steps.export import Format


@with_options
def export(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
    effort: Annotated[Effort, "workers"],
    to: Annotated[
        Format,
        typer.Option(help="tiff: one file for each image; tiff-slices: a folder of slices."),
    ],
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

    Give the same command again after any interruption: it goes on.
    """
    if under_mpi():
        raise ConfigError("tbseg export is not an MPI program", mend="tbseg export --workers N")
    watch(run_dir)
    workers = team(effort.workers or ALL_CORES)
    done = steps.export(
        run=run_dir,
        to=to,
        out=out,
        what=[unquote(name) for name in names(what or "")],
        team=workers,
        progress=lines("export"),
    )
    conclude(done, workers, as_json)
