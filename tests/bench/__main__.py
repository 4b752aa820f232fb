"""``python -m tests.bench [--quick] [--json FILE]``: a table of the engine native's speed."""

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tbseg_ops.classifier import load_engine, read_passport
from tbseg_ops.classifier.features import BrickFeatures
from tbseg_ops.classifier.forest import BrickForest
from tbseg_ops.classifier.passport import read_classifier
from tbseg_ops.geometry import Box
from tests.bench import baseline
from tests.bench.cases import FEATURES, FORESTS, columns_of, trained, vessels
from tests.bench.measure import child, cpu, in_turn, wall
from tests.reference_sets import REFERENCE, ReferenceSet

Row = dict[str, Any]

SETS = (
    ("2D, 2 classes, uint8", ReferenceSet("vessels-2d"), REFERENCE / "vessels-3d/volume_128.h5"),
    ("small 3D, 2 classes, uint8", ReferenceSet("vessels-3d", "_128"), None),
    ("3D, 3 classes, uint16", ReferenceSet("nuclei"), None),
    ("3D, 4 labels, uint8", ReferenceSet("label-gap"), REFERENCE / "vessels-3d/volume_128.h5"),
    (
        "large 3D (sigma 10, all features), 2 classes, uint8",
        ReferenceSet("vessels-all-features", "_128", volume_of="vessels-3d"),
        None,
    ),
)
_ENGINE = """
import h5py, sys
from tbseg_ops.classifier import load_engine, read_passport
from tbseg_ops.geometry import Box
import numpy as np
passport = read_passport({ilp!r})
engine = load_engine("native", passport, volume_shape=({n},) * 3)
raw = np.random.default_rng(0).integers(0, 255, ({n},) * 3 + (1,), np.uint8)
from pathlib import Path
def now(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = now("VmRSS")
labels = engine.predict_labels(raw, Box((0, 0, 0), ({core},) * 3))
print(now("VmHWM") - before - labels.nbytes)
"""


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--quick", action="store_true", help="smaller volumes, one run each")
    options.add_argument("--json", type=Path, default=Path(".bench.json"))
    chosen = options.parse_args()
    runs, side = (1, 64) if chosen.quick else (3, 96)
    console = Console()
    machine = f"{_processor()}, one thread unless said, Python {platform.python_version()}"
    console.print(machine)
    speeds = list(_speeds(runs))
    console.print(_speed_table(speeds))
    console.print("columns: processor time; labels: without probability maps, with early stop")
    reason = baseline.missing()
    targets = [] if reason else list(_against_vigra(runs, side))
    targets += list(_own_ratios(runs))
    console.print(_target_table(targets))
    if reason:
        console.print(f"No rows against vigra: {reason}")
    console.print(
        "No row against ilastik itself: compare by --engine ilastik, docs/engine-ilastik.md"
    )
    document = {"machine": machine, "speeds": speeds, "targets": targets, "no_vigra": reason}
    chosen.json.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"written: {chosen.json}")


def _speeds(runs: int) -> Iterator[Row]:
    for name, reference, volume in SETS:
        raw = ReferenceSet("vessels-3d", "_128").raw() if volume else reference.raw()
        shape = (raw.shape[0], raw.shape[1], raw.shape[2])
        passport = read_passport(reference.classifier)
        engine = load_engine("native", passport, volume_shape=shape)
        core = Box((0, 0, 0), shape)
        engine.predict(raw, core)
        engine.predict_labels(raw, core)
        maps, labels = in_turn(
            lambda e=engine, r=raw, c=core: cpu(lambda: e.predict(r, c)),  # type: ignore[misc]
            lambda e=engine, r=raw, c=core: cpu(lambda: e.predict_labels(r, c)),  # type: ignore[misc]
            runs,
        )
        yield {
            "case": name,
            "columns": passport.columns,
            "voxels": core.size,
            "probabilities": core.size / maps,
            "labels": core.size / labels,
        }


def _against_vigra(runs: int, side: int) -> Iterator[Row]:
    raw, field = vessels(side)
    core = Box((0, 0, 0), (side,) * 3)
    features = BrickFeatures(FEATURES, 1)
    bricks = np.concatenate([part.copy() for _, _, part in features.slabs(raw[..., None], core)])
    columns = columns_of(raw)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "volume.npy", raw)
        np.save(folder / "rows.npy", columns.reshape(len(columns), -1).T.copy())

        def slabs() -> None:
            for _ in features.slabs(raw[..., None], core):
                pass

        filters, their_filters = in_turn(
            lambda: cpu(slabs),
            lambda: float(baseline.vigra("features", folder / "volume.npy")),
            runs,
        )
        yield _row("features alone, 30 columns", their_filters / filters, 13, filters / core.size)
        for difficulty, must in (("easy", 14), ("medium", 11), ("hard", 10), ("four", None)):
            ilp = trained(difficulty, columns, field, folder)
            passport, forests = read_classifier(ilp)
            forest = BrickForest(forests)
            forest.predict(bricks)
            ours, theirs = in_turn(
                lambda f=forest: cpu(lambda: f.predict(bricks)),  # type: ignore[misc]
                lambda d=difficulty: float(  # type: ignore[misc]
                    baseline.vigra("forest", folder / "rows.npy", folder / f"{d}.h5")
                ),
                runs,
            )
            leaves = sum(len(f.proportions) for f in forests) // passport.trees
            what = f"{difficulty} ({FORESTS[difficulty].classes} classes, {leaves} leaves a tree)"
            yield _row(f"forest alone, {what}", theirs / ours, must, ours / core.size)
            engine = load_engine("native", passport, volume_shape=core.shape)
            engine.predict(raw[..., None], core)
            engine.predict_labels(raw[..., None], core)
            whole, labels = in_turn(
                lambda e=engine: cpu(lambda: e.predict(raw[..., None], core)),  # type: ignore[misc]
                lambda e=engine: cpu(lambda: e.predict_labels(raw[..., None], core)),  # type: ignore[misc]
                runs,
            )
            must_whole = {"easy": 12, "medium": 12, "hard": 9}.get(difficulty)
            both = their_filters + theirs
            yield _row(
                f"whole tile, probabilities, {what}", both / whole, must_whole, whole / core.size
            )
            must_labels = 1.15 if difficulty == "hard" else None
            yield _row(
                f"labels only against probabilities, {difficulty}",
                whole / labels,
                must_labels,
                labels / core.size,
            )


def _own_ratios(runs: int) -> Iterator[Row]:
    reference = ReferenceSet("vessels-all-features", "_128", volume_of="vessels-3d")
    raw, passport = reference.raw(), read_passport(reference.classifier)
    core = Box((0, 0, 0), (128, 128, 128))
    one, two = (load_engine("native", passport, volume_shape=core.shape, threads=n) for n in (1, 2))
    same = np.array_equal(one.predict(raw, core), two.predict(raw, core))
    alone, together = in_turn(
        lambda: wall(lambda: one.predict(raw, core)),
        lambda: wall(lambda: two.predict(raw, core)),
        runs,
    )
    yield _row(
        f"two threads against one (by the clock; bytes {'equal' if same else 'DIFFER'})",
        alone / together,
        1.8,
        together / core.size,
    )
    empty = np.full_like(raw, 7)
    two.predict_labels(empty, core)
    one.predict_labels(empty, core)
    full, nothing = in_turn(
        lambda: cpu(lambda: one.predict_labels(raw, core)),
        lambda: cpu(lambda: one.predict_labels(empty, core)),
        runs,
    )
    yield _row("constant input against a normal tile", full / nothing, 50, nothing / core.size)
    ilp = str(reference.classifier)
    _, beyond = child(_ENGINE.format(ilp=ilp, n=256, core=256))
    yield _row("MB beyond input and output, 256 x 256 x 256, all columns", beyond / 1e6, 250, None)
    warm, _ = child(_ENGINE.format(ilp=ilp, n=36, core=16))
    yield _row("seconds to the first result of a new process, warm cache", warm, 2, None)
    with tempfile.TemporaryDirectory() as folder:
        cold, _ = child(_ENGINE.format(ilp=ilp, n=36, core=16), NUMBA_CACHE_DIR=folder)
    yield _row("seconds to the first result of a new process, cold cache", cold, None, None)


def _row(what: str, value: float, must: float | None, per_voxel: float | None) -> Row:
    return {
        "what": what,
        "value": value,
        "must": must,
        "ns_per_voxel": None if per_voxel is None else per_voxel * 1e9,
    }


def _speed_table(rows: list[Row]) -> Table:
    table = Table(title="Mvoxel/s on one core, whole engine")
    for column in ("case", "columns", "probabilities", "labels"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(
            row["case"],
            str(row["columns"]),
            f"{row['probabilities'] / 1e6:.1f}",
            f"{row['labels'] / 1e6:.1f}",
        )
    return table


def _target_table(rows: list[Row]) -> Table:
    table = Table(title="ratios and limits")
    for column in ("figure", "measured", "must reach", "ns a voxel"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for row in rows:
        per_voxel = row["ns_per_voxel"]
        table.add_row(
            row["what"],
            f"{row['value']:.2f}" if row["value"] < 10 else f"{row['value']:.0f}",
            "" if row["must"] is None else f"{row['must']:g}",
            "" if per_voxel is None else f"{per_voxel:.0f}",
        )
    return table


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
