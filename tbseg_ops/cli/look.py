"""tbseg look: a volume and a classifier in the browser, before a run."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops.cli.options import Given, declared, with_options
from tbseg_ops.look.site import LookSite
from tbseg_ops.options import RunSpec, Target
from tbseg_ops.selection import Selection
from tbseg_ops.settings import ROOTS
from tbseg_ops.view.server import ViewServer


@with_options
def look(
    volume: Annotated[str | None, declared(RunSpec, "volume")] = None,
    classifier: Annotated[str | None, declared(RunSpec, "classifier")] = None,
    *,
    mask: Annotated[Given[RunSpec], "mask"],
    selection: Given[Selection],
    target: Annotated[Given[Target], "dataset"],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of this machine; 0: a free one.")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in your browser.")
    ] = True,
) -> None:
    """Look at a volume before a run, and preview classes of a box of it.

    In the browser: what it is, whether it fits the classifier, what the classes of a box will be.
    The address is for this machine only and holds a secret: do not hand it on. Ends with Ctrl+C.
    """
    spec = {option.name: option for option in RunSpec.options()}
    values = {**mask.values, **selection.values}
    given = {name: spec[name].written(value) for name, value in values.items()}
    texts = {"volume": volume, "classifier": classifier, **target.values}
    given |= {name: text for name, text in texts.items() if text is not None}
    server = ViewServer(LookSite(lambda: ROOTS.value or [Path.cwd()], given), port)
    print(server.url, flush=True)
    print("(Ctrl+C ends it)", file=sys.stderr, flush=True)
    if browser:
        webbrowser.open(server.url)
    server.serve()
