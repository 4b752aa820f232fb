"""What commands that show a page in the browser have in common: their options, and serving it."""

import sys
import webbrowser
from threading import Thread
from typing import Annotated

import typer

from tbseg_ops.view.server import Served, ViewServer

Port = Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0: a free one.")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in your browser.")]


def serve(site: Served, port: int, *, browser: bool) -> None:
    """Print the address of a site and serve it until Ctrl+C; with ``browser``, open it there."""
    server = ViewServer(site, port)
    print(server.url, flush=True)
    print("(Ctrl+C ends it)", file=sys.stderr, flush=True)
    if browser:
        # Aside: what BROWSER names may come back only when its window is closed.
        Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    server.serve()
