"""``python -m tests.bench.disk``: what each step costs, and what it reads and writes.

Bytes are multiples of the volume as it is in memory: those of the system calls of a step's
processes, whether the disk or a cache served them, and those that came from and went to the disk.
No step finds slices or files of the run in the cache (``--kept``: what the steps before it left
there), and with ``--memory`` no step can keep more than that of them, its own memory included.
Baselines: the files copied (and fsynced) by shutil, and what a person would write: the volume read
at once by tifffile or tensorstore and written as one plain dataset by h5py.
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
from functools import partial
from math import ceil
from operator import add, sub
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorstore
import tifffile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.bench.cgroup import no_more_than
from tests.reference_sets import ReferenceSet
from tests.synthetic import write_stack
from tests.volume import formats

NUCLEI = ReferenceSet("nuclei")
Writer = Callable[[Path, NDArray[Any]], Path]


def _big_tiff(folder: Path, volume: NDArray[Any]) -> Path:
    folder.mkdir()
    tifffile.imwrite(folder / "stack.tif", volume, bigtiff=True, photometric="minisblack")
    return folder / "stack.tif"


def _ome_zarr(folder: Path, volume: NDArray[Any]) -> Path:
    return formats.ome_zarr_04(folder, volume, chunk=(64, 128, 128))


LAYOUTS: dict[str, Writer] = {
    "uncompressed": write_stack,
    "LZW": partial(write_stack, compression="lzw"),
    "zstd": partial(write_stack, compression="zstd"),
    "BigTIFF": _big_tiff,
    "OME-Zarr": _ome_zarr,
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
    rows = Table("stored as", "options", "step", "s", "CPU", *BYTES)
    with (
        tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name,
        no_more_than(chosen.memory) as within,
    ):
        place = Path(name)
        for layout in chosen.layouts:
            stored = LAYOUTS[layout](place / layout, volume)
            reader = "tensorstore" if layout == "OME-Zarr" else "tifffile"
            for baseline, action in (("shutil", _copied), (f"{reader} + h5py", _rewritten)):
                cost = _cost(place, action, stored, place / "copy")
                _add(rows, volume.nbytes, layout, "", baseline, cost)
            for way in RUNS if layout == "uncompressed" else RUNS[:1]:
                paths = stored, place / "run"
                _run(rows, volume.nbytes, layout, *paths, way, within, chosen.kept)
            shutil.rmtree(place / layout)
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
    layout: str,
    stored: Path,
    run: Path,
    chosen: str,
    within: list[str],
    kept: bool,
) -> None:
    costs = []
    for step in STEPS:
        more = [f"--run={run}"]
        if step == "plan":
            more = [str(stored), str(NUCLEI.classifier), str(run), *chosen.split()]
        words = [*within, sys.executable, "-m", "tbseg_ops.cli.main", step, *more]
        cold = step == "plan" or not kept
        costs.append(_cost(run.parent, _called, words, cold=cold))
        _add(rows, size, layout, chosen, step, costs[-1])
    _add(rows, size, layout, chosen, "in all", sum(costs[1:], costs[0]))
    kept_bytes = sum(p.stat().st_blocks * 512 for p in run.rglob("*") if p.is_file())
    rows.add_row(layout, chosen, "run folder", *[""] * 5, f"{kept_bytes / size:.2f}")
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


def _copied(stored: Path, to: Path) -> None:
    def copy(source: str, path: str) -> None:
        with open(source, "rb") as old, open(path, "wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())

    to.mkdir()
    if stored.is_dir():
        shutil.copytree(stored, to, copy_function=copy, dirs_exist_ok=True)
    else:
        copy(str(stored), str(to / stored.name))
    shutil.rmtree(to)


def _rewritten(stored: Path, to: Path) -> None:
    with h5py.File(to, "w") as file:
        file["volume"] = _whole(stored)
    with to.open("rb") as written:
        os.fsync(written.fileno())
    to.unlink()


def _whole(stored: Path) -> NDArray[Any]:
    if stored.is_file():
        return tifffile.imread(stored)
    if stored.suffix == ".zarr":
        level = {"driver": "file", "path": str(stored / "0")}
        return tensorstore.open({"driver": "zarr", "kvstore": level}).result().read().result()
    paths = sorted(stored.iterdir(), key=lambda path: int(path.stem.split("_")[1]))
    return np.stack([tifffile.imread(path) for path in paths])


if __name__ == "__main__":
    main()
