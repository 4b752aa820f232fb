"""``python -m tests.bench.tiles``: what the commands that look at all tiles cost, by their number.

The run is as if its engine had done nothing: every voxel has the first class. Plan, records and
class files are written as those of a finished classify, and the commands do their work on them
(``verify`` all but the boxes that it predicts anew).
Seconds are those of processors, memory the most that a process had. With ``--plot FILE.svg`` as a
chart, too.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.table import Table

from tbseg_ops import steps
from tbseg_ops.geometry import Index
from tbseg_ops.hdf5.image import image_of, stamp
from tbseg_ops.run import Inputs, Record, RunFolder, RunSpec
from tbseg_ops.run.finish import Facts
from tbseg_ops.run.outputs import chunks_digest, create_outputs, output_names, raw_chunks
from tbseg_ops.run.plan import GridModel, slabs_of
from tbseg_ops.run.work_left import work_left
from tbseg_ops.view.tiles import RunView
from tests.bench.plot import chart
from tests.reference_sets import ReferenceSet
from tests.synthetic import write_stack

VESSELS = ReferenceSet("vessels-3d")
SIDE = 32  # of a tile
CORE = (SIDE, SIDE, SIDE)
COUNTS: dict[int, Index] = {1_000: (10, 10, 10), 10_000: (20, 25, 20), 100_000: (40, 50, 50)}
COMMANDS = {
    "status": ["status"],
    "doctor": ["doctor", "--run"],
    "forecast": ["forecast", "--run"],
    "split, all done": ["split", "--workers=1", "--run"],
    "classify, all done": ["classify", "--workers=1", "--run"],
    "merge": ["merge", "--workers=1", "--run"],
    "status when merged": ["status"],
}


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-tiles", description=__doc__)
    options.add_argument("--most", type=int, default=max(COUNTS), help="tiles")
    options.add_argument("--plot", type=Path, metavar="FILE.svg", help="a chart of the seconds")
    chosen = options.parse_args()
    counts = {n: grid for n, grid in COUNTS.items() if n <= chosen.most}
    rows = Table("", *(f"{n:,} tiles: s" for n in counts), "ms a tile", "MB")
    costs = [_costs(n, grid) for n, grid in counts.items()]
    for what in costs[0]:
        seconds, memory = costs[-1][what]
        figures = [f"{each[what][0]:.1f}" for each in costs]
        rows.add_row(what, *figures, f"{1e3 * seconds / max(counts):.2f}", f"{memory:.0f}")
    Console(width=110).print(rows)
    if chosen.plot:
        lines = {
            what: {n: each[what][0] for n, each in zip(counts, costs, strict=True)}
            for what in costs[0]
        }
        chosen.plot.write_text(chart(lines, "tiles", "seconds of a processor"))


def _costs(n: int, grid: Index) -> dict[str, tuple[float, float]]:
    """What each command costs for so many tiles: seconds and MB."""
    with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
        run = made(Path(name), grid)
        actions: dict[str, Callable[[], object]] = {
            "plan: what is left": partial(_left, run),
            "run page, first": partial(_seen, run),
        }
        for command, words in COMMANDS.items():
            actions[command] = partial(_called, [*words, str(run)])
        # No boxes: the classes are made up, and their number does not grow with the tiles.
        actions["verify, no boxes"] = partial(steps.verify, run=run, boxes=0)
        found = {}
        for what, action in actions.items():
            found[what] = cost(action)
            print(f"{n:9,} {what:20} {found[what][0]:8.1f} s", file=sys.stderr)
    return found


def made(folder: Path, grid: Index) -> Path:
    """A run of so many tiles, split and classified."""
    z, y, x = grid
    run, shape = folder / "run", (SIDE * z, SIDE * y, SIDE * x)
    slices = write_stack(folder / "slices", VESSELS.raw()[..., 0])
    spec = RunSpec.of(volume=str(slices), classifier=str(VESSELS.classifier), ingest="copy")
    small = steps.plan(spec=spec, run=run)
    info = small.volume.model_copy(update={"shape": shape})
    inputs = Inputs(
        slices=tuple(f"img_{z}.tif" for z in range(shape[0])),
        fingerprints=tuple(f"{z:064x}" for z in range(shape[0])),
    )
    update = {
        "volume": info,
        "inputs_digest": inputs.digest,
        "grid_model": GridModel(volume=shape, core=CORE, chunk=CORE, halo=small.grid_model.halo),
        "slabs": slabs_of(info, 1, 0, shape[0]),
    }
    plan = small.model_copy(update=update)
    folder_ = RunFolder(run).under(plan.in_batches(max(1, len(plan.grid) // 500)), inputs)
    folder_.store(folder_.plan, inputs)
    filled(folder_)
    return run


def filled(folder: RunFolder) -> None:
    """A file and a record for each tile; not synced, as nothing of it is kept."""
    plan = folder.plan
    facts = Facts("c" * 64, counts=(SIDE**3, *(0 for _ in plan.classifier.labels[1:])))
    image, facts = classes_of(folder, facts)
    for part in ("tiles", "classes", "records/split", "records/classify", "records/ingest"):
        (folder.path / part).mkdir(parents=True, exist_ok=True)
    for tile in plan.grid:
        cut = folder.sub_volume(tile)
        for piece, data, more in (
            (cut, b"-", {"content": "c" * 64}),
            (folder.classes(tile, "c" * 64), image, asdict(facts)),
        ):
            piece.path.write_bytes(data)
            record = Record(
                step=piece.step,
                name=tile.name,
                key=piece.key,
                file=piece.file,
                size=len(data),
                sha256=None,
                seconds=1.0,
                host="bench",
                version="0",
                **more,
            )
            folder.records(piece.step).path(tile.name).write_bytes(record.to_bytes())


def classes_of(folder: RunFolder, facts: Facts) -> tuple[bytes, Facts]:
    """The class file of any tile, and its facts."""
    plan, digest = folder.plan, ""

    def fill(file: h5py.File) -> None:
        nonlocal digest
        create_outputs(file, plan, (SIDE,) * 3)
        for number, name in enumerate(output_names(plan)):
            file[name][...] = np.full((SIDE,) * 3, number < 2, np.uint8)
        file.flush()
        digest = chunks_digest(raw_chunks(file, plan, plan.grid[0].core, (0, 0, 0)))
        stamp(file, key="-")

    image = image_of(fill)
    return image, Facts(**{**asdict(facts), "chunks": digest})


def _left(run: Path) -> None:
    work_left(RunFolder(run))


def _seen(run: Path) -> None:
    """All that the run page asks until every tile is counted."""
    view = RunView(RunFolder(run))
    while any(layer["done"] is None for layer in view.progress()):
        pass


def _called(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tbseg_ops.cli.main", *words], capture_output=True, text=True
    )
    if done.returncode not in (0, 69):
        raise SystemExit(done.stdout + done.stderr)


def cost(action: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processors, and peak memory in MB, of ``action`` in a process of its own."""
    ends, begins = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            spent = [
                resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            ]
            seconds = sum(u.ru_utime + u.ru_stime for u in spent)
            os.write(begins, f"{seconds} {max(u.ru_maxrss for u in spent) / 1e3}".encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(begins)
    with os.fdopen(ends) as answer:
        told = answer.read()
    os.waitpid(child, 0)
    if not told:
        raise SystemExit("it failed, as told above")
    seconds, used = map(float, told.split())
    return seconds, used


if __name__ == "__main__":
    main()
