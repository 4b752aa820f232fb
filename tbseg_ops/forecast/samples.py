"""What records tell about speed and size: of this run, or of earlier ones like it."""

from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path

from tbseg_ops.errors import TbsegError
from tbseg_ops.forecast.replay import Sample
from tbseg_ops.geometry import Tile
from tbseg_ops.run import Plan, Record, RunFolder
from tbseg_ops.run.records import Step

_MOST = 2000  # records that are read of a step: more say nothing new
# Where nothing is measured, of one worker (make bench: 0.5 to 6 million voxels a second with the
# engine native; the program ilastik takes some twenty times as long). Wide, and named as such.
VOXELS_A_SECOND = {"native": 2e6, "ilastik": 1e5}


def work_of(plan: Plan, tile: Tile) -> int:
    """Voxels by which the time of a tile goes.

    With the engine native those of the core: the time for one of them varies by 4 to 13 %, measured
    over volumes and classifiers with halos of 7 to 38; for one of the halo box by 9 to 29 %, since
    the halo is only smoothed. The program ilastik computes all that it is given.
    """
    return tile.core.size if plan.spec.engine == "native" else tile.box.size


def times(folder: RunFolder, names: Sequence[str]) -> list[Sample]:
    """Seconds of the tiles of these names, where they were measured.

    A file that was adopted without its record has 0, and says nothing; nor does one that was
    derived from labels.
    """
    plan = folder.plan
    return [
        Sample(r.host, work_of(plan, plan.grid.by_name(r.name)), r.seconds)
        for r in _some(folder, "classify", names)
        if r.seconds > 0 and not r.derived
    ]


def sizes(folder: RunFolder, names: Sequence[str]) -> list[Sample]:
    """Bytes of the class files of these tiles, by the voxels of their cores."""
    grid = folder.plan.grid
    return [
        Sample("", grid.by_name(r.name).core.size, r.size) for r in _some(folder, "classify", names)
    ]


def seconds_a_voxel(runs: Iterable[RunFolder], step: Step) -> float | None:
    """Of the whole volume, summed over workers; of the first of these runs that has records."""
    for folder in runs:
        plan = folder.plan
        pieces = {"ingest": len(plan.slabs), "split": len(plan.grid)}.get(step, 1)
        found = _some(folder, step, sorted(folder.records(step).names()))
        measured = [record.seconds for record in found if record.seconds > 0]
        if measured:
            return sum(measured) / len(measured) * pieces / prod(plan.shape)
    return None


def similar_run(plan: Plan, path: str | Path) -> RunFolder | None:
    """An earlier run, if its tiles took what this plan's will; None also if it cannot be read."""
    try:
        folder = RunFolder(Path(path))
        old = folder.plan
    except TbsegError:
        return None
    return folder if _kind(old) == _kind(plan) else None


def _kind(plan: Plan) -> tuple[object, ...]:
    spec = plan.spec
    engine = spec.engine, plan.engine_version
    return plan.classifier.digest, engine, spec.output, plan.probability_labels


def names_of(folder: RunFolder) -> list[str]:
    """The tiles of a run that have a record, as many as are of use."""
    known = folder.records("classify").names()
    return [tile.name for tile in folder.plan.grid if tile.name in known]


def _some(folder: RunFolder, step: Step, names: Sequence[str]) -> list[Record]:
    """Records of pieces of these names, evenly chosen where they are many."""
    ledger, each = folder.records(step), max(1, len(names) // _MOST)
    return [r for name in names[::each] if (r := ledger.get(name)) is not None]
