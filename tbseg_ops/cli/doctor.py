"""tbseg doctor: is this machine fit to work on a run?"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tbseg_ops import __version__
from tbseg_ops.cli.common import Json, emit, path_here
from tbseg_ops.errors import ConfigError, printable
from tbseg_ops.hosts.doctor import doctor as doctor_here
from tbseg_ops.hosts.doctor import doctor_of_place

_MARKS = {"good": "ok  ", "note": "note", "bad": "BAD "}


def doctor(
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run folder.", parser=path_here)
    ] = None,
    place: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Instead: a folder in which runs are to lie.", parser=path_here
        ),
    ] = None,
    hosts: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="With --place: given on N hosts at once; each measures how late it sees others.",
        ),
    ] = 1,
    token: Annotated[str | None, typer.Option(hidden=True)] = None,
    version: Annotated[str, typer.Option(hidden=True)] = __version__,
    as_json: Json = False,
) -> None:
    """Check this machine before work starts: folder, file system, disk, memory, classifier, MPI."""
    if place is not None and run is None:
        found = doctor_of_place(place=place, hosts=hosts)
    elif run is not None and place is None and hosts == 1:
        found = doctor_here(run=run, token=token, version=version)
    else:
        raise typer.BadParameter("give --run, or --place with or without --hosts")
    for row in found.rows:
        print(f"{_MARKS[row.state]}  {row.check:19} {printable(row.found)}", file=sys.stderr)
        if row.mend is not None:
            print(f"      {'':19} mend: {printable(row.mend)}", file=sys.stderr)
    sys.stderr.flush()
    if as_json:
        emit({"step": "doctor", "fit": found.fit, **found.model_dump(mode="json")})
    if not found.fit:
        bad = [row for row in found.rows if row.state == "bad"]
        raise ConfigError(
            f"{found.host} is not fit for this {'run' if place is None else 'place'}: "
            + ", ".join(row.check for row in bad),
            found="; ".join(f"{row.check}: {row.found}" for row in bad),
            mend="; ".join(row.mend for row in bad if row.mend) or None,
        )
