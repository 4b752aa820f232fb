"""The steps of a run, each declared once: what works on them takes its lists from here.

Nothing but the standard library is imported: Airflow's scheduler reads this, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Unit = Literal["volume", "slab", "tile"]
# Those that make something of the run; a type cannot be taken from the table below.
RecordedStep = Literal["ingest", "split", "classify", "merge", "verify", "export", "publish"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a task of the DAG, and a ``command`` of tbseg unless it asks a person.

    ``unit``: what it works on at a time. ``remote``: it runs where the run's backend says, else on
    Airflow's machine. ``mpi``: it is remote, and may run as an MPI program. ``like``: the step
    whose images and resources it has, if none of its own. ``reads`` and ``writes``: kinds of files.
    """

    name: str
    unit: Unit = "volume"
    remote: bool = False
    mpi: bool = False
    like: str | None = None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    command: bool = True


# Each needs the one before it. Each after plan reads the plan, too.
STEPS: tuple[Step, ...] = (
    Step("plan", reads=("volume", "classifier", "mask"), writes=("plan",)),
    Step("doctor", remote=True, reads=("classifier",)),
    Step("ingest", "slab", mpi=True, reads=("volume", "mask"), writes=("whole",)),
    Step("split", "tile", mpi=True, reads=("whole",), writes=("tiles",)),
    Step(
        *("calibrate", "tile"),
        remote=True,
        like="classify",
        reads=("tiles", "classifier"),
        writes=("classes",),
    ),
    Step("forecast"),
    Step("approve", command=False),
    Step("classify", "tile", mpi=True, reads=("tiles", "classifier"), writes=("classes",)),
    Step("merge", mpi=True, reads=("classes",), writes=("segmentation",)),
    Step("verify", reads=("segmentation", "classes", "classifier")),
    Step("export", remote=True, like="merge", reads=("segmentation", "whole"), writes=("export",)),
    Step("publish", reads=("segmentation",), writes=("report", "crate")),
)


def mpi() -> tuple[str, ...]:
    """The steps that may run as MPI programs."""
    return tuple(step.name for step in STEPS if step.mpi)


def remote() -> tuple[str, ...]:
    """The steps that run where the backend says."""
    return tuple(step.name for step in STEPS if step.remote or step.mpi)


def resources_of(name: str) -> str:
    """The step whose images and resources a step has."""
    return next((step.like for step in STEPS if step.name == name), None) or name


def resourced() -> tuple[str, ...]:
    """The remote steps that have images and resources of their own."""
    return tuple(name for name in remote() if resources_of(name) == name)


def known(name: str, among: Iterable[str]) -> str:
    """``name`` if it is one of them; ValueError says which there are."""
    if name not in (found := tuple(among)):
        raise ValueError(f"expected any of {', '.join(found)}")
    return name
