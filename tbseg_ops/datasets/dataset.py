"""A dataset: what is to be segmented, how, by what means, and what is kept of it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from tbseg_ops.fields import Options, option
from tbseg_ops.options import Effort, RunSpec
from tbseg_ops.selection import PATH, AbsolutePath


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text must not hold control characters")
    return text


Line = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_line)]


class Retention(Options):
    """What ``tbseg gc`` leaves: so many verified runs whole, with their sub-volumes or without."""

    keep_runs: Annotated[int, Field(ge=1, le=1_000_000)] = option(
        3, description="So many verified runs are kept whole by tbseg gc."
    )
    keep_sub_volumes: bool = option(False, description="Their sub-volumes (tiles/) are kept, too.")


class _Entry(Options):
    """Who asks for a dataset, and where its runs are: the first fields of its file."""

    schema_version: Literal[1] = 1
    owner: Line = option(..., description="Whom to ask.", metavar="TEXT", empty="log-in name")
    schedule: bool = option(
        False,
        description="Looked at by the scheduled DAG.",
        spelling="--schedule/--no-schedule",
    )
    runs: AbsolutePath = option(
        ...,
        description="Folder for its runs: 0001, 0002, ...",
        metavar="DIR",
        text=PATH,
        empty="beside the volume",
    )


class Dataset(Effort, _Entry):
    """One entry of the registry: whose, where its runs are, with what means, and of what."""

    spec: RunSpec
    retention: Retention = Retention()
