"""A dataset: what is to be segmented, how, by what means, and what is kept of it."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from tbseg_ops.errors import ConfigError
from tbseg_ops.run.spec import AbsolutePath, RunSpec, explained
from tbseg_ops.stored import Stored

Backend = Literal["local", "ssh", "kubernetes"]


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a text must not hold control characters")
    return text


Line = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_line)]


class Retention(Stored):
    """What ``tbseg gc`` leaves: so many verified runs whole, with their sub-volumes or without."""

    keep_runs: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    keep_sub_volumes: bool = False


class Dataset(Stored):
    """One entry of the registry.

    ``runs``: the folder that holds its runs, 0001, 0002, ... ``schedule``: whether it is looked
    at by the scheduled DAG. ``workers``: processes of each host, None for all cores.
    ``approval_hours``: a run with a longer forecast waits for somebody's approval; None: never.
    """

    schema_version: Literal[1] = 1
    owner: Line
    schedule: bool = False
    runs: AbsolutePath
    backend: Backend = "local"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    approval_hours: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None
    spec: RunSpec
    retention: Retention = Retention()

    @classmethod
    def of(cls, **values: object) -> Self:
        """A dataset from a form or a command line; ConfigError names each wrong field."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                "the dataset is wrong:\n" + explained(error), mend="correct the named fields"
            ) from None
