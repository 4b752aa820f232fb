"""``python -m tests.bench.airflow``: what Airflow costs beside the work, against ``tbseg run``.

A real Airflow of this machine, volumes of noisy vessels. Seconds of the clock and of processors;
those of the scheduler are with the tasks' own processes, and so with the work.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from tifffile import imwrite

from scripts.supervise import COMPONENTS
from tests.airflow_home import make_home
from tests.e2e.deployment import Deployment, deployed
from tests.runs import VESSELS


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, int, int]
    tile: str
    task_seconds: float


CASES = (
    Case("128 small tiles, a task for each", (192, 192, 192), "48,48,24", 0.0),
    Case("128 small tiles", (192, 192, 192), "48,48,24", 45.0),
    Case("4 tiles of 256³", (256, 512, 512), "256,256,256", 45.0),
)


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-airflow", description=__doc__)
    options.add_argument("--most-voxels", type=float, default=1e9, help="leave larger cases out")
    most = options.parse_args().most_voxels
    rows = Table("case", "tbseg run", "DAG", "ratio", "tasks", *COMPONENTS, "all, per task")
    with (
        tempfile.TemporaryDirectory(prefix="tbseg-bench-") as folder,
        deployed(make_home(Path(folder) / "home")) as airflow,
    ):
        for number, case in enumerate(CASES):
            if np.prod(case.shape) <= most:
                rows.add_row(*_measured(airflow, case, Path(folder) / str(number)))
    Console(width=140).print(rows)


def _measured(airflow: Deployment, case: Case, folder: Path) -> list[str]:
    folder.mkdir()
    volume = folder / "volume.tif"
    raw = VESSELS.raw()[..., 0]
    times = [ceil(n / m) for n, m in zip(case.shape, raw.shape, strict=True)]
    z, y, x = case.shape
    imwrite(volume, np.tile(raw, times)[:z, :y, :x])
    values = {"volume": str(volume), "classifier": str(VESSELS.classifier), "tile": case.tile}
    begin = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-m", "tbseg_ops.cli.main", "run", f"--tile={case.tile}"),
            *(values["volume"], values["classifier"], str(folder / "alone")),
        ],
        check=True,
        capture_output=True,
    )
    alone, begin = time.perf_counter() - begin, time.perf_counter()
    before = _processor_seconds(airflow)
    run = airflow.trigger(
        **values, run=str(folder / "by Airflow"), task_seconds=case.task_seconds, calibration=0
    )
    state = airflow.wait(run, seconds=3600)
    if state != "success":
        raise SystemExit(f"the run ended as {state}: {airflow.states(run)}")
    dag = time.perf_counter() - begin
    used = {name: s - before[name] for name, s in _processor_seconds(airflow).items()}
    tasks = len(airflow.instances(run))
    return [
        *(case.name, f"{alone:.1f} s", f"{dag:.1f} s", f"{dag / alone:.1f} x", str(tasks)),
        *(f"{used[name]:.1f} s" for name in COMPONENTS),
        f"{sum(used.values()) / tasks:.2f} s",
    ]


def _processor_seconds(airflow: Deployment) -> dict[str, float]:
    """Of each component, what it has started and what that has left behind included."""
    found = dict.fromkeys(COMPONENTS, 0.0)
    for child in psutil.Process(airflow.service.pid).children():
        with contextlib.suppress(psutil.Error):  # a task's process that ends meanwhile
            words = " ".join(child.cmdline()).replace(
                "_", "-"
            )  # some have given themselves a title
            name = next((name for name in COMPONENTS if name in words), None)
            for process in (child, *child.children(recursive=True)) if name else ():
                found[str(name)] += sum(process.cpu_times()[:4])
    return found


if __name__ == "__main__":
    main()
