"""tbseg look: a volume and a classifier in the browser, before a run."""

from pathlib import Path
from typing import Annotated

from tbseg_ops.cli.options import Given, declared, with_options
from tbseg_ops.cli.serving import Browser, Port, serve
from tbseg_ops.look.site import LookSite
from tbseg_ops.options import RunSpec, Target
from tbseg_ops.selection import Selection
from tbseg_ops.settings import ROOTS


@with_options
def look(
    volume: Annotated[str | None, declared(RunSpec, "volume")] = None,
    classifier: Annotated[str | None, declared(RunSpec, "classifier")] = None,
    *,
    mask: Annotated[Given[RunSpec], "mask"],
    selection: Given[Selection],
    target: Annotated[Given[Target], "dataset"],
    port: Port = 0,
    browser: Browser = True,
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
    serve(LookSite(lambda: ROOTS.value or [Path.cwd()], given), port, browser=browser)
