"""tbseg view: a run in the browser, while it goes on."""

import sys
import webbrowser
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from tbseg_ops.run import RunFolder
from tbseg_ops.view import napari as in_napari
from tbseg_ops.view.server import ViewServer
from tbseg_ops.view.site import Site
from tbseg_ops.view.tiles import RunView


def view(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The run folder.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0: a free one.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in your browser.")
    ] = True,
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
    server = ViewServer(Site(RunFolder(run_dir), other), port)
    print(server.url, flush=True)
    print("(Ctrl+C ends it)", file=sys.stderr, flush=True)
    if browser:
        # Aside: what BROWSER names may come back only when its window is closed.
        Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    server.serve()
