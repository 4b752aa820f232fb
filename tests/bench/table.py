"""What was measured, as tables for people and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from tests.bench.forecasts import Case, Found
from tests.bench.speeds import Speed
from tests.bench.targets import Check, Figure


def machine() -> dict[str, Any]:
    """The processor by the name it gives itself, how many cores, what ran, and when."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # of others, when the run begins
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def speed_table(speeds: Sequence[Speed]) -> Table:
    table = _table(
        "Mvoxel/s of whole tiles, peak MB of the process",
        "case",
        "columns",
        "all cores",
        "per core",
        "labels, per core",
        "peak",
        "vigra, per core",
        "ratio",
        "vigra's peak",
    )
    for s in speeds:
        vigra = ("", "", "")
        if s.vigra_per_core is not None and s.vigra_peak is not None:
            ratio = f"{s.per_core / s.vigra_per_core:.0f} x"
            vigra = f"{s.vigra_per_core / 1e6:.2f}", ratio, f"{s.vigra_peak / 1e6:.0f}"
        ours = (f"{v / 1e6:.1f}" for v in (s.per_second, s.per_core, s.labels_per_core))
        table.add_row(s.case, str(s.columns), *ours, f"{s.peak / 1e6:.0f}", *vigra)
    return table


def figure_table(figures: Sequence[Figure]) -> Table:
    table = _table(
        "ratios and limits", "figure", "measured", "must reach", "reached", "aim", "ns a voxel"
    )
    for f in figures:
        bound = "" if f.unit == "x" else "<= "
        table.add_row(
            f.what,
            "-" if f.value is None else f"{_short(f.value)} {f.unit}",
            "" if f.must is None else f"{bound}{f.must:g} {f.unit}",
            {True: "yes", False: "NO", None: ""}[f.reached],
            "" if f.aim is None else f"{bound}{f.aim:g} {f.unit}",
            "" if f.ns is None else _short(f.ns),
        )
    return table


def forecast_table(simulated: Sequence[tuple[Case, Found]]) -> Table:
    table = _table(
        "forecasts of simulated runs, 200 draws each; 90 % is what intervals promise",
        *("case", "tiles measured", "mean error", "mean bias", "interval held", "high / low"),
    )
    for case, found in simulated:
        table.add_row(
            case.name,
            str(case.measured),
            f"{found.error:.1%}",
            f"{found.bias:+.1%}",
            f"{found.held:.1%}",
            f"{found.width:.2f}",
        )
    return table


def document(
    speeds: Sequence[Speed], figures: Sequence[Figure], checks: Sequence[Check], about: Any
) -> str:
    """JSON: bytes, seconds, voxels a second; figures in their own units."""
    whole = {
        "machine": about,
        "speeds": [asdict(speed) for speed in speeds],
        "figures": [{**asdict(figure), "reached": figure.reached} for figure in figures],
        "checks": [asdict(check) for check in checks],
    }
    return json.dumps(whole, indent=1) + "\n"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
