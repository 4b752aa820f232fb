"""``python -m tests.bench.disk``: what each step costs, and what it reads and writes.

Bytes are those of the system calls of a step's processes, whether the disk or a cache served them,
as multiples of the volume as it is in memory. Baselines: the files copied (and fsynced) by shutil,
and the stack read by tifffile and written as one plain dataset by h5py.
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
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.reference_sets import ReferenceSet
from tests.synthetic import write_stack

NUCLEI = ReferenceSet("nuclei")
LAYOUTS: dict[str, dict[str, Any]] = {
    "uncompressed": {},
    "LZW": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
}
RUNS = ("", "--ingest=copy", "--ingest=copy --split=copy")
STEPS = ("plan", "ingest", "split", "classify", "merge", "verify", "publish")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of processors; bytes."""

    clock: float
    cpu: float
    read: int
    written: int

    @classmethod
    def so_far(cls) -> "Cost":
        """Of this process and of those that it has waited for."""
        with open("/proc/self/io") as file:
            io = {name: int(value) for name, value in (line.split(": ") for line in file)}
        each = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(used.ru_utime + used.ru_stime for used in each)
        return cls(time.perf_counter(), cpu, io["rchar"], io["wchar"])

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            self.clock - other.clock,
            self.cpu - other.cpu,
            self.read - other.read,
            self.written - other.written,
        )

    def __add__(self, other: "Cost") -> "Cost":
        return self - Cost(-other.clock, -other.cpu, -other.read, -other.written)


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-io", description=__doc__)
    options.add_argument("--slices", type=int, default=256, help="of 1 MiB each")
    volume = _volume((options.parse_args().slices, 512, 1024))
    rows = Table("slices", "options", "step", "seconds", "CPU", "read", "written")
    with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
        for layout, how in LAYOUTS.items():
            slices = write_stack(Path(name) / layout, volume, **how)
            for baseline, action in (("shutil", _copied), ("tifffile + h5py", _rewritten)):
                cost = _cost(action, slices, Path(name) / "copy")
                _add(rows, volume.nbytes, layout, "", baseline, cost)
            for chosen in RUNS if layout == "uncompressed" else RUNS[:1]:
                _run(rows, volume.nbytes, slices, Path(name) / "run", chosen)
            shutil.rmtree(slices)
    Console(width=110).print(rows)


def _volume(shape: tuple[int, int, int]) -> NDArray[Any]:
    """The nuclei, repeated: (z, y, x)."""
    raw = NUCLEI.raw()[..., 0]
    times = [ceil(n / m) for n, m in zip(shape, raw.shape, strict=True)]
    z, y, x = shape
    return np.tile(raw, times)[:z, :y, :x]


def _run(rows: Table, size: int, slices: Path, run: Path, chosen: str) -> None:
    costs = []
    for step in STEPS:
        more = [f"--run={run}"]
        if step == "plan":
            more = [str(slices), str(NUCLEI.classifier), str(run), *chosen.split()]
        words = [sys.executable, "-m", "tbseg_ops.cli.main", step, *more]
        costs.append(_cost(_called, words))
        _add(rows, size, slices.name, chosen, step, costs[-1])
    _add(rows, size, slices.name, chosen, "in all", sum(costs[1:], costs[0]))
    stored = sum(p.stat().st_blocks * 512 for p in run.rglob("*") if p.is_file())
    rows.add_row(slices.name, chosen, "run folder", "", "", "", f"{stored / size:.2f}")
    rows.add_section()
    shutil.rmtree(run)


def _called(argv: list[str]) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _cost(action: Callable[..., object], *arguments: object) -> Cost:
    os.sync()
    before = Cost.so_far()
    action(*arguments)
    return Cost.so_far() - before


def _add(rows: Table, size: int, layout: str, chosen: str, step: str, cost: Cost) -> None:
    times = (f"{cost.clock:.1f}", f"{cost.cpu:.1f}")
    rows.add_row(
        layout, chosen, step, *times, *(f"{n / size:.2f}" for n in (cost.read, cost.written))
    )


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
