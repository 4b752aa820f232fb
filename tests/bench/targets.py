"""The second table: each figure that the engine has to reach, as a ratio or a limit."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tbseg_ops.classifier.passport import read_classifier
from tbseg_ops.engines import hard_labels
from tbseg_ops.engines.native.features.bricks import BrickFeatures
from tbseg_ops.engines.native.forest.bricks import BrickForest
from tbseg_ops.geometry import Box
from tbseg_ops.settings import ILASTIK
from tests.bench import baseline
from tests.bench.cases import FEATURES, Case, centre, vessels
from tests.bench.classifiers import classifier
from tests.bench.measure import OtherProcesses, cpu, in_turn, new_process, wall
from tests.reference_sets import ReferenceSet

_ALL = ReferenceSet("vessels-all-features", "_128", volume_of="vessels-3d")
_TRAINED = {
    "real classifier, vessels, 23 columns": ReferenceSet("vessels-3d", "_128"),
    "real classifier, vessels, 61 columns": _ALL,
    "real classifier, nuclei, 25 columns": ReferenceSet("nuclei"),
}


@dataclass(frozen=True)
class Figure:
    """A ratio ("x", to be at least ``must``) or a quantity ("MB", "s", to be at most ``must``).

    ``value`` is None if it was not measured; ``note`` then says why, or else under which
    conditions it was. ``ns``: of our processor time per voxel of the core.
    """

    what: str
    unit: str
    value: float | None
    must: float | None = None
    aim: float | None = None
    ns: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.value is None or self.must is None:
            return None
        return self.value >= self.must if self.unit == "x" else self.value <= self.must


@dataclass(frozen=True)
class Check:
    """Something that must hold exactly: a fast wrong answer is no figure."""

    what: str
    holds: bool


def against_vigra(runs: int, side: int) -> Iterator[Figure | Check]:
    """Thirty columns, 100 trees; both read the same halo. One thread, processor time."""
    raw = vessels(192)[0][..., None]
    core = centre(side, raw.shape[:3])
    case = Case("thirty", raw, core, classifier("thirty", "easy"))
    tile, inner = case.tile
    reason = baseline.missing()
    maker = BrickFeatures(FEATURES["thirty"], 1)
    bricks = np.concatenate([part.copy() for _, _, part in maker.slabs(tile, inner)])

    def slabs() -> None:
        for _ in maker.slabs(tile, inner):
            pass

    filters, *theirs = in_turn(
        runs,
        cpu(slabs),
        *([] if reason else [lambda: baseline.tile(case, with_forest=False)["features"]]),
    )
    yield Figure(
        "features alone, 30 columns",
        "x",
        theirs[0] / filters if theirs else None,
        13,
        20,
        1e9 * filters / core.size,
        reason or "",
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = None
        if not reason:
            rows = baseline.Rows(bricks.transpose(0, 2, 1).reshape(-1, maker.columns), Path(folder))
        for difficulty, limits in {
            "easy": (14, 25, 12),
            "medium": (11, 18, 12),
            "hard": (10, 15, 9),
        }.items():
            ilp = classifier("thirty", difficulty)
            filters_of_vigra = theirs[0] if theirs else None
            yield from _forest(ilp, difficulty, limits, runs, case, bricks, rows, filters_of_vigra)


def _forest(
    ilp: Path,
    difficulty: str,
    limits: tuple[float, float, float],
    runs: int,
    case: Case,
    bricks: np.ndarray,
    rows: baseline.Rows | None,
    their_filters: float | None,
) -> Iterator[Figure | Check]:
    passport, forests = read_classifier(ilp)
    forest = BrickForest(forests)
    case = Case(difficulty, case.raw, case.core, ilp)
    (raw, core), engine = case.tile, case.engine()
    found = forest.predict(bricks)
    probabilities = engine.predict(raw, core)
    labels = engine.predict_labels(raw, core)
    ours, whole, stopped, *theirs = in_turn(
        runs,
        cpu(lambda: forest.predict(bricks)),
        cpu(lambda: engine.predict(raw, core)),
        cpu(lambda: engine.predict_labels(raw, core)),
        *([] if rows is None else [lambda: rows.forest(ilp)]),
    )
    leaves = passport.nodes / passport.trees + 1
    what = f"{difficulty}: {len(passport.labels)} classes, {leaves:.0f} leaves a tree"
    reason = baseline.missing() or ""
    per_voxel = 1e9 / core.size
    must, aim, must_whole = limits
    ratio = theirs[0] / ours if theirs else None
    yield Figure(f"forest alone, {what}", "x", ratio, must, aim, ours * per_voxel, reason)
    both = (their_filters + theirs[0]) / whole if theirs and their_filters else None
    yield Figure(
        f"whole tile, probabilities, {difficulty}",
        "x",
        both,
        must_whole,
        20,
        whole * per_voxel,
        reason,
    )
    yield Figure(
        f"labels only against probabilities, {difficulty}",
        "x",
        whole / stopped,
        1.15,
        1.5,
        stopped * per_voxel,
    )
    yield Check(
        f"labels only are those of the probabilities, {difficulty}",
        np.array_equal(labels, hard_labels(probabilities)),
    )
    if rows is not None:
        mine = found.transpose(0, 2, 1).reshape(-1, forest.classes)
        yield Check(
            f"the forest's probabilities are vigra's, bit for bit, {difficulty}",
            np.array_equal(mine, rows.probabilities()),
        )


def early_stop(runs: int, side: int) -> Iterator[Figure | Check]:
    """Labels only against probabilities: forests that ilastik trained, on their own volumes."""
    for name, reference in _TRAINED.items():
        yield from _labels_only(name, reference, runs, side)


def _labels_only(
    name: str, reference: ReferenceSet, runs: int, side: int
) -> Iterator[Figure | Check]:
    raw = reference.raw()
    core = centre(side, raw.shape[:3])
    case = Case(name, raw, core, reference.classifier)
    (tile, inner), engine = case.tile, case.engine()
    labels, probabilities = engine.predict_labels(tile, inner), engine.predict(tile, inner)
    whole, stopped = in_turn(
        runs,
        cpu(lambda: engine.predict(tile, inner)),
        cpu(lambda: engine.predict_labels(tile, inner)),
    )
    what = f"labels only against probabilities, {name}"
    yield Figure(what, "x", whole / stopped, 1.15, 1.5, 1e9 * stopped / core.size)
    yield Check(
        f"labels only are those of the probabilities, {name}",
        np.array_equal(labels, hard_labels(probabilities)),
    )


def of_the_process(runs: int, side: int) -> Iterator[Figure | Check]:
    """Threads, memory, first calls, empty regions: 61 columns to sigma 10."""
    raw = _ALL.raw()
    core = centre(side, raw.shape[:3])
    case = Case("all", raw, core, _ALL.classifier)
    (tile, inner), one, two = case.tile, case.engine(), case.engine(2)
    same = one.predict(tile, inner).tobytes() == two.predict(tile, inner).tobytes()
    yield Check("two threads give the bytes of one", same)
    yield _two_threads(
        lambda: one.predict(tile, inner), lambda: two.predict(tile, inner), max(runs, 5)
    )
    empty = np.full_like(tile, 7)
    one.predict(empty, inner)
    full, nothing = in_turn(
        runs, cpu(lambda: one.predict(tile, inner)), cpu(lambda: one.predict(empty, inner))
    )
    yield Figure(
        "constant input against a normal tile",
        "x",
        full / nothing,
        50,
        None,
        1e9 * nothing / inner.size,
    )
    for times in (1, 2):
        large = np.tile(raw, (times, times, times, 1))
        whole = centre(128 * times, large.shape[:3])
        beyond = new_process(large, whole, _ALL.classifier).beyond / 1e6
        what = f"memory beyond input and output, {128 * times}³, 61 columns"
        yield Figure(what, "MB", beyond, 250, 100)
    small, dot = raw[:40, :40, :40], Box((12, 12, 12), (28, 28, 28))
    (warm,) = in_turn(runs, lambda: new_process(small, dot, _ALL.classifier).clock)
    yield Figure("first call of a new process, start included, warm disk cache", "s", warm, 2, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        cold = new_process(small, dot, _ALL.classifier, NUMBA_CACHE_DIR=folder).clock
    yield Figure("first call of a new process, start included, cold disk cache", "s", cold)


def _two_threads(one: Callable[[], object], two: Callable[[], object], runs: int) -> Figure:
    """By the clock, so it wants a quiet machine; the note tells how quiet it was.

    Shown and judged as measured in any case: threads that wait for each other look the same.
    """
    with OtherProcesses() as others:
        alone, together = in_turn(runs, wall(one), wall(two))
    note = f"meanwhile other processes used {others.cores:.2f} cores"
    return Figure(
        "two threads against one, by the clock", "x", alone / together, 1.8, 1.95, None, note
    )


def against_ilastik() -> Figure:
    """Whole processes, start-up included, on the same project and volume."""
    what = "real ilastik headless, whole process, 128³, processor time"
    if not ILASTIK.value:
        return Figure(what, "x", None, 10, 20, note=f"{ILASTIK.name} does not name an ilastik")
    reference = ReferenceSet("vessels-3d", "_128")
    raw = reference.raw()
    core = centre(128, raw.shape[:3])
    theirs, ours = (
        new_process(raw, core, reference.classifier, engine).cpu for engine in ("ilastik", "native")
    )
    return Figure(what, "x", theirs / ours, 10, 20, 1e9 * ours / core.size)
