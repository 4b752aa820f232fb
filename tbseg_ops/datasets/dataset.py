"""A dataset: what is to be segmented, how, by what means, and what is kept of it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from tbseg_ops.options import Options, Shown
from tbseg_ops.spec import PATH, AbsolutePath, Effort, RunSpec


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text must not hold control characters")
    return text


Line = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_line)]


class Retention(Options):
    """What ``tbseg gc`` leaves: so many verified runs whole, with their sub-volumes or without."""

    keep_runs: Annotated[
        int,
        Field(ge=1, le=1_000_000, description="So many verified runs are kept whole by tbseg gc."),
        Shown(),
    ] = 3
    keep_sub_volumes: Annotated[
        bool, Field(description="Their sub-volumes (tiles/) are kept, too."), Shown()
    ] = False


class _Entry(Options):
    """Who asks for a dataset, and where its runs are: the first fields of its file."""

    schema_version: Literal[1] = 1
    owner: Annotated[
        Line, Field(description="Whom to ask."), Shown(metavar="TEXT", empty="log-in name")
    ]
    schedule: Annotated[
        bool,
        Field(description="Looked at by the scheduled DAG."),
        Shown(spelling="--schedule/--no-schedule"),
    ] = False
    runs: Annotated[
        AbsolutePath,
        Field(description="Folder for its runs: 0001, 0002, ..."),
        Shown(metavar="DIR", text=PATH, empty="beside the volume"),
    ]


class Dataset(Effort, _Entry):
    """One entry of the registry: whose, where its runs are, with what means, and of what."""

    spec: RunSpec
    retention: Retention = Retention()
