"""``python -m tests.bench.exports``: time and memory of an export, beside what the disk takes.

Noise of 16 bits, voxels four times as deep as wide, and labels in blocks of 16 voxels: an engine
that does nothing gives them. Memory is the most that a process had. With ``--limit`` the export
runs in a memory cgroup of so many MB, page cache included (as root).
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.table import Table

from tbseg_ops import steps
from tbseg_ops.engines.native import engine
from tbseg_ops.run import RunFolder, RunSpec
from tests.bench.cgroup import no_more_than
from tests.reference_sets import ReferenceSet

VESSELS = ReferenceSet("vessels-3d")
PLANE = (1024, 1024)
BLOCK = 16
EXPORTS = {
    "raw as OME-Zarr": ["--to", "ome-zarr", "--what", "raw"],
    "labels as OME-Zarr": ["--to", "ome-zarr", "--what", "labels"],
    "raw as TIFF": ["--to", "tiff", "--what", "raw"],
    "raw as TIFF slices": ["--to", "tiff-slices", "--what", "raw"],
}


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-export", description=__doc__)
    options.add_argument("--planes", type=int, default=512, help="of 1024 x 1024 voxels")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--limit", type=int, help="MB, of a memory cgroup")
    options.add_argument("--folder", type=Path, help="where, if not where temporary files are")
    given = options.parse_args()
    rows = Table("", "GB in", "GB out", "seconds", "processor s", "MB/s of input", "most MB")
    with (
        tempfile.TemporaryDirectory(prefix="tbseg-bench-", dir=given.folder) as name,
        no_more_than(given.limit) as within,
    ):
        folder = Path(name)
        run = made(folder, given.planes)
        voxels = given.planes * PLANE[0] * PLANE[1]
        program = [sys.executable, "-m", "tbseg_ops.cli.main"]
        rows.add_row("the disk: write and fsync", *_row(*_raw_disk(folder, 2 * voxels)))
        for what, words in EXPORTS.items():
            out = folder / "out"
            size = voxels * (1 if "labels" in what else 2)
            words = ["export", str(run), "--out", str(out), "--workers", str(given.workers), *words]
            seconds, spent, most = _measured([*within, *program, *words])
            written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            rows.add_row(what, *_row(size, written, seconds, spent, most))
            shutil.rmtree(out)
    Console(width=120).print(rows)


def _row(size: int, written: int, seconds: float, spent: float, most: float) -> list[str]:
    speed = size / seconds / 1e6
    figures = [f"{size / 1e9:.2f}", f"{written / 1e9:.2f}", f"{seconds:.1f}", f"{spent:.1f}"]
    return [*figures, f"{speed:.0f}", f"{most:.0f}"]


def made(folder: Path, planes: int) -> Path:
    """A merged run of noise whose labels come in blocks."""
    random, volume = np.random.default_rng(0), folder / "volume.h5"
    with h5py.File(volume, "w") as file:
        data = file.create_dataset("data", (planes, *PLANE), np.uint16)
        data.attrs["element_size_um"] = (2.0, 0.5, 0.5)
        for z in range(planes):
            data[z] = random.integers(0, 4096, PLANE, np.uint16)
    engine.NativeEngine.predict_labels = _blocks  # type: ignore[method-assign]
    spec = RunSpec.of(volume=f"{volume}:/data", classifier=str(VESSELS.classifier))
    steps.plan(spec=spec, run=folder / "run")
    for step in (steps.ingest, steps.split, steps.classify, steps.merge):
        step(run=folder / "run")
    volume.unlink()
    return RunFolder(folder / "run").path


def _blocks(self, raw, core):  # type: ignore[no-untyped-def]
    counts = [-(-n // BLOCK) for n in core.shape]
    chosen = np.random.default_rng(core.size).integers(1, len(self.labels) + 1, counts, np.uint8)
    whole = chosen.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)
    return np.ascontiguousarray(whole[tuple(slice(0, n) for n in core.shape)])


def _raw_disk(folder: Path, size: int) -> tuple[int, int, float, float, float]:
    block, path = os.urandom(4 << 20), folder / "raw"
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(size // len(block)):
            file.write(block)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return size, size, seconds, 0.0, 0.0


def _measured(words: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processors, and the most MB that one of its processes had."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.execvp(words[0], words)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{words} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


if __name__ == "__main__":
    main()
