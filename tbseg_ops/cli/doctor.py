"""tbseg doctor: is this machine fit to work on a run?"""

import sys
from typing import Annotated

import typer

from tbseg_ops import __version__
from tbseg_ops.cli.common import Json, RunOption, emit
from tbseg_ops.errors import ConfigError, printable
from tbseg_ops.hosts.doctor import doctor as doctor_here

_MARKS = {"good": "ok  ", "note": "note", "bad": "BAD "}


def doctor(
    run: RunOption,
    token: Annotated[str | None, typer.Option(hidden=True)] = None,
    version: Annotated[str, typer.Option(hidden=True)] = __version__,
    as_json: Json = False,
) -> None:
    """Check this machine before work starts: folder, disk, memory, classifier, MPI."""
    found = doctor_here(run=run, token=token, version=version)
    for row in found.rows:
        print(f"{_MARKS[row.state]}  {row.check:12} {printable(row.found)}", file=sys.stderr)
        if row.mend is not None:
            print(f"      {'':12} mend: {printable(row.mend)}", file=sys.stderr)
    sys.stderr.flush()
    if as_json:
        emit({"step": "doctor", "fit": found.fit, **found.model_dump(mode="json")})
    if not found.fit:
        bad = [row for row in found.rows if row.state == "bad"]
        raise ConfigError(
            f"{found.host} is not fit for this run: " + ", ".join(row.check for row in bad),
            found="; ".join(f"{row.check}: {row.found}" for row in bad),
            mend="; ".join(row.mend for row in bad if row.mend) or None,
        )
