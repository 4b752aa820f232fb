"""tbseg view: a run in the browser, while it goes on."""

from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops.cli.serving import Browser, Port, serve
from tbseg_ops.run import RunFolder
from tbseg_ops.view import napari as in_napari
from tbseg_ops.view.site import Site
from tbseg_ops.view.tiles import RunView


def view(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
    port: Port = 0,
    browser: Browser = True,
    compare: Annotated[
        Path | None, typer.Option(metavar="OTHER", help="The folder of a run to compare it with.")
    ] = None,
    napari: Annotated[
        bool, typer.Option("--napari", help="In a window of napari instead, if that is installed.")
    ] = False,
) -> None:
    """Look at a run in the browser: its tiles on the volume, and in 3D, while it goes on.

    The address is for this machine only and holds a secret: do not hand it on. Ends with Ctrl+C.
    """
    if napari:
        in_napari.show(RunView(RunFolder(run_dir)))
        return
    other = None if compare is None else Site(RunFolder(compare))
    serve(Site(RunFolder(run_dir), other), port, browser=browser)
