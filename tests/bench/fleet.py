"""``python -m tests.bench.fleet``: hosts of 1x, 2x and 4x speed on one run, with and without help.

Real processes on this machine; their engines sleep. The ideal of each is the time if no host were
ever idle, by the tiles a second that each did while it was at work.
"""

import shutil
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fleet import split_run, work
from tests.tiny import classifier

PACES = (0.3, 0.15, 0.075)  # seconds a tile
TILES = 20  # in a batch
BATCHES = (5, 8)


def main() -> None:
    rows = Table("batches", "help", "seconds", "ideal", "tiles helped with", "computed twice")
    with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
        project = classifier(Path(name))
        for batches in BATCHES:
            split = split_run(Path(name) / str(batches), project, batches, TILES)
            tiles = batches * TILES
            for helping in (False, True):
                run = Path(shutil.copytree(split, split.with_name(f"run {helping}")))
                found = work(run, PACES, helping)
                rows.add_row(
                    f"{batches} of {TILES} tiles",
                    "yes" if helping else "no",
                    f"{found.seconds:.1f}",
                    f"{tiles / found.rate:.1f}",
                    str(found.helped),
                    str(sum(found.asked) - tiles),
                )
    Console(width=110).print(rows)


if __name__ == "__main__":
    main()
