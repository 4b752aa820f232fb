"""The first table: how fast whole tiles are, and what memory they take, ours and vigra's."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.bench import baseline
from tests.bench.cases import Case, centre, vessels
from tests.bench.classifiers import classifier
from tests.bench.measure import cpu, in_turn, new_process, wall
from tests.reference_sets import ReferenceSet


@dataclass(frozen=True)
class Speed:
    """Voxels of the core per second: by the clock on all cores, and of one core's processor time.

    ``peak``: bytes of a new process for one tile, in all. vigra's are None where it is missing.
    """

    case: str
    columns: int
    voxels: int
    per_second: float
    per_core: float
    labels_per_core: float
    peak: int
    vigra_per_core: float | None
    vigra_peak: int | None


def speeds(runs: int, side: int) -> Iterator[Speed]:
    for case in _cases(side):
        yield _speed(case, runs)


def _speed(case: Case, runs: int) -> Speed:
    raw, core = case.tile
    one, all_ = case.engine(), case.engine(os.cpu_count() or 1)
    for engine in (one, all_):
        engine.predict(raw, core)
    one.predict_labels(raw, core)
    found: dict[str, float] = {}

    def theirs() -> float:
        found.update(baseline.tile(case))
        return found["features"] + found["forest"]

    maps, labels, clock, *vigra = in_turn(
        runs,
        cpu(lambda: one.predict(raw, core)),
        cpu(lambda: one.predict_labels(raw, core)),
        wall(lambda: all_.predict(raw, core)),
        *([] if baseline.missing() else [theirs]),
    )
    return Speed(
        case=case.name,
        columns=case.passport.columns,
        voxels=core.size,
        per_second=core.size / clock,
        per_core=core.size / maps,
        labels_per_core=core.size / labels,
        peak=new_process(raw, core, case.classifier).peak,
        vigra_per_core=core.size / vigra[0] if vigra else None,
        vigra_peak=int(found["peak"]) if vigra else None,
    )


def _cases(side: int) -> Iterator[Case]:
    raw = vessels(192)[0][..., None]
    core = centre(side, raw.shape[:3])
    for selection in ("2D", "small 3D", "large 3D"):
        for difficulty, classes in (("easy", 2), ("four", 4)):
            for dtype in (np.uint8, np.uint16):
                name = f"{selection}, {classes} classes, {np.dtype(dtype)}"
                yield Case(name, raw.astype(dtype), core, classifier(selection, difficulty))
    for name, reference in (
        ("nuclei (real), 3 classes, uint16", ReferenceSet("nuclei")),
        ("ilastik's own, 61 columns, uint8", ReferenceSet("vessels-all-features")),
    ):
        raw = vessels(192)[0][..., None] if reference.name != "nuclei" else reference.raw()
        yield Case(name, raw, centre(side, raw.shape[:3]), reference.classifier)
