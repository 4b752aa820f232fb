"""``python -m tests.bench.disk``: what each step costs, and what it reads and writes.

Bytes are multiples of the volume as it is in memory: those of the system calls of a step's
processes, whether the disk or a cache served them, and those that came from and went to the disk.
No step finds slices or files of the run in the cache (``--kept``: what the steps before it left
there), and with ``--memory`` no step can keep more than that of them, its own memory included.
Baselines: the files copied (and fsynced) by shutil, and
the stack read by tifffile and written as one plain dataset by h5py.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from math import ceil
from operator import add, sub
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.bench.cgroup import no_more_than
from tests.reference_sets import ReferenceSet
from tests.synthetic import write_stack

NUCLEI = ReferenceSet("nuclei")
LAYOUTS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "LZW": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
}
RUNS = ("", "--ingest=copy", "--ingest=copy --split=copy")
BYTES = ("read", "written", "from disk", "to disk")
STEPS = ("plan", "ingest", "split", "classify", "merge", "verify", "publish")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of processors; bytes by system calls, and of the disk."""

    clock: float
    cpu: float
    read: int
    written: int
    from_disk: int
    to_disk: int

    @classmethod
    def so_far(cls) -> "Cost":
        """Of this process and of those that it has waited for."""
        with open("/proc/self/io") as file:
            io = {name: int(value) for name, value in (line.split(": ") for line in file)}
        each = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(used.ru_utime + used.ru_stime for used in each)
        bytes_ = (io[name] for name in ("rchar", "wchar", "read_bytes", "write_bytes"))
        return cls(time.perf_counter(), cpu, *bytes_)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(*map(sub, astuple(self), astuple(other)))

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*map(add, astuple(self), astuple(other)))


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-io", description=__doc__)
    options.add_argument("--slices", type=int, default=256, help="of 1 MiB each")
    options.add_argument("--memory", type=int, help="MiB that a step may have (root, cgroups)")
    options.add_argument("--kept", action="store_true", help="the cache is that of the step before")
    options.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    chosen = options.parse_args()
    volume = _volume((chosen.slices, 512, 1024))
    rows = Table("slices", "options", "step", "s", "CPU", *BYTES)
    with (
        tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name,
        no_more_than(chosen.memory) as within,
    ):
        place = Path(name)
        for layout in chosen.layouts:
            slices = write_stack(place / layout, volume, **LAYOUTS[layout])
            for baseline, action in (("shutil", _copied), ("tifffile + h5py", _rewritten)):
                cost = _cost(place, action, slices, place / "copy")
                _add(rows, volume.nbytes, layout, "", baseline, cost)
            for way in RUNS if layout == "uncompressed" else RUNS[:1]:
                _run(rows, volume.nbytes, slices, place / "run", way, within, chosen.kept)
            shutil.rmtree(slices)
    Console(width=130).print(rows)


def _volume(shape: tuple[int, int, int]) -> NDArray[Any]:
    """The nuclei, repeated: (z, y, x)."""
    raw = NUCLEI.raw()[..., 0]
    times = [ceil(n / m) for n, m in zip(shape, raw.shape, strict=True)]
    z, y, x = shape
    return np.tile(raw, times)[:z, :y, :x]


def _run(
    rows: Table,
    size: int,
    slices: Path,
    run: Path,
    chosen: str,
    within: list[str],
    kept: bool,
) -> None:
    costs = []
    for step in STEPS:
        more = [f"--run={run}"]
        if step == "plan":
            more = [str(slices), str(NUCLEI.classifier), str(run), *chosen.split()]
        words = [*within, sys.executable, "-m", "tbseg_ops.cli.main", step, *more]
        cold = step == "plan" or not kept
        costs.append(_cost(slices.parent, _called, words, cold=cold))
        _add(rows, size, slices.name, chosen, step, costs[-1])
    _add(rows, size, slices.name, chosen, "in all", sum(costs[1:], costs[0]))
    stored = sum(p.stat().st_blocks * 512 for p in run.rglob("*") if p.is_file())
    rows.add_row(slices.name, chosen, "run folder", *[""] * 5, f"{stored / size:.2f}")
    rows.add_section()
    shutil.rmtree(run)


def _called(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}:\n{done.stderr}")


def _cost(
    place: Path, action: Callable[..., object], *arguments: object, cold: bool = True
) -> Cost:
    """Of an action that finds no file below ``place`` in the cache, if it is ``cold``."""
    os.sync()
    for path in place.rglob("*"):
        if cold and path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = Cost.so_far()
    action(*arguments)
    return Cost.so_far() - before


def _add(rows: Table, size: int, layout: str, chosen: str, step: str, cost: Cost) -> None:
    times = (f"{cost.clock:.1f}", f"{cost.cpu:.1f}")
    moved = (cost.read, cost.written, cost.from_disk, cost.to_disk)
    rows.add_row(layout, chosen, step, *times, *(f"{n / size:.2f}" for n in moved))


def _copied(slices: Path, to: Path) -> None:
    to.mkdir()
    for path in slices.iterdir():
        with path.open("rb") as source, (to / path.name).open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    shutil.rmtree(to)


def _rewritten(slices: Path, to: Path) -> None:
    paths = sorted(slices.iterdir(), key=lambda path: int(path.stem.split("_")[1]))
    with h5py.File(to, "w") as file:
        file["volume"] = np.stack([tifffile.imread(path) for path in paths])
    with to.open("rb") as written:
        os.fsync(written.fileno())
    to.unlink()


if __name__ == "__main__":
    main()
