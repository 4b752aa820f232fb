"""``python -m tests.bench [--quick] [--json FILE]``: tables of the engine's speed and truth.

Ends with 1 if a result is wrong; a figure that misses its target is shown, and no error.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tests.bench import baseline
from tests.bench.forecasts import CASES, coverage
from tests.bench.speeds import speeds
from tests.bench.table import document, figure_table, forecast_table, machine, speed_table
from tests.bench.targets import (
    Check,
    Figure,
    against_ilastik,
    against_vigra,
    early_stop,
    of_the_process,
)
from tests.engines.native.exactness import all_comparisons

_WIDTH = 140  # of a file or a pipe, which have none of their own


def main() -> int:
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--quick", action="store_true", help="smaller tiles, one run each")
    options.add_argument("--forecasts", action="store_true", help="only those, simulated")
    options.add_argument("--json", type=Path, default=Path(".bench.json"))
    chosen = options.parse_args()
    runs, side, small = (1, 48, 32) if chosen.quick else (3, 96, 80)
    console = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=_WIDTH)
    simulated = [(case, coverage(case)) for case in CASES]
    if chosen.forecasts:
        console.print(forecast_table(simulated))
        return 0
    about = machine()
    console.print(", ".join(f"{key} {value}" for key, value in about.items()))
    measured = list(speeds(runs, small))
    console.print(speed_table(measured))
    found = [
        *against_vigra(runs, side),
        *early_stop(max(runs, 3), side),
        *of_the_process(runs, 128),
        against_ilastik(),
    ]
    figures = [f for f in found if isinstance(f, Figure)]
    checks = [c for c in found if isinstance(c, Check)]
    for row in all_comparisons():
        console.print(str(row), highlight=False)
        checks.append(Check(f"ilastik's own answer, {row.reference} {row.how}", row.equal))
    console.print(figure_table(figures))
    for f in figures:
        if f.note:
            console.print(f"{'not measured: ' if f.value is None else ''}{f.what}: {f.note}")
    console.print(forecast_table(simulated))
    if baseline.missing():
        console.print(f"no columns of vigra: {baseline.missing()}")
    for check in checks:
        console.print(f"{'holds' if check.holds else 'DOES NOT HOLD'}: {check.what}")
    chosen.json.write_text(document(measured, figures, checks, about))
    console.print(f"written: {chosen.json}")
    return 0 if all(check.holds for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
