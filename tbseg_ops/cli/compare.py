"""tbseg compare: where the labels of two runs differ."""

from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops.cli.common import Json, emit, lines
from tbseg_ops.errors import printable
from tbseg_ops.run import RunFolder
from tbseg_ops.view.compare import RunsCompared
from tbseg_ops.view.compare import compare as compared


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="A run folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Another, of the same shape.")],
    most: Annotated[
        int, typer.Option(min=0, help="So many tiles are listed; --json has all.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Compare the labels of two runs: share of voxels that differ, by class and by tile.

    Classes with the same name are the same. Both results must be merged; nothing is written.
    """
    found = compared(RunFolder(first), RunFolder(second), lines("compare"))
    if as_json:
        emit(found)
        return
    _show(found, most)


def _show(found: RunsCompared, most: int) -> None:
    print(
        f"{100 * found.share:.4g} % of {found.voxels:,} voxels differ ({found.different:,}),"
        f" in {len(found.most):,} of {found.tiles:,} tiles"
    )
    head = ["RUN1 \\ RUN2", *map(printable, found.second_classes)]
    rows = [
        [printable(name), *(f"{count:,}" for count in counts)]
        for name, counts in zip(found.first_classes, found.confusion, strict=True)
    ]
    wanted = [0, *(i for i in range(1, len(head)) if any(row[i] != "0" for row in rows))]
    rows = [row for row in rows if any(cell != "0" for cell in row[1:])]
    table = [[row[i] for i in wanted] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *cells in table:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        print("  ".join([name.ljust(widths[0]), *numbers]))
    for tile in found.most[:most]:
        print(f"{tile.name}  {100 * tile.share:6.2f} %  {tile.different:,} voxels")
