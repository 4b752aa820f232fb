"""tbseg gc: give back the room that the runs of datasets take without need."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tbseg_ops import datasets
from tbseg_ops.cli.common import Json, emit
from tbseg_ops.errors import TbsegError, printable


def gc(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Datasets; all if none.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without: only show it.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the runs of datasets hold beyond their retention; with --yes, remove it.

    Never of a run that is going on, nor of one that it takes pieces from. The exit code is that
    of the first dataset that cannot be looked at.
    """
    rows: list[datasets.Freed] = []
    errors: dict[str, TbsegError] = {}
    for name in names or datasets.names():
        try:
            rows += datasets.gc(name=name, remove=yes)
        except TbsegError as error:
            errors[name] = error
            print(f"{printable(name)}: error: {error}", file=sys.stderr, flush=True)
    total = sum(row.bytes for row in rows)
    if as_json:
        emit(
            {
                "removed": yes,
                "bytes": total,
                "rows": [row.model_dump(mode="json") for row in rows],
                "errors": {name: str(error) for name, error in errors.items()},
            }
        )
    else:
        _show(rows)
        print(f"{total / 1e9:.3f} GB {'freed' if yes else 'would be freed by --yes'}")
    if errors:
        raise typer.Exit(next(iter(errors.values())).exit_code)


def _show(rows: list[datasets.Freed]) -> None:
    if not rows:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("dataset", "run", "what", "files"):
        table.add_column(title, overflow="fold")
    table.add_column("GB", justify="right")
    for row in rows:
        cells = (row.dataset, Path(row.run).name, ", ".join(row.what), str(row.files))
        table.add_row(*map(printable, cells), f"{row.bytes / 1e9:.3f}")
    Console(markup=False, highlight=False).print(table)
