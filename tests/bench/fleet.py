"""``python -m tests.bench.fleet``: hosts of 1x, 2x and 4x speed on one run, with and without help.

Real processes on this machine; their engines sleep. The ideal is the time if no host were ever
idle, by the tiles a second that each did while it was at work.
"""

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fleet import split_run, work
from tests.tiny import classifier

PACES = (0.4, 0.2, 0.1)  # seconds a tile
TILES = 20  # in a batch
BATCHES = (5, 8)


def main() -> None:
    rows = Table("batches", "no help", "help", "ideal", "tiles helped with", "computed twice")
    with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
        project = classifier(Path(name))
        for batches in BATCHES:
            alone, together = (
                work(
                    split_run(Path(name) / f"{batches} {helping}", project, batches, TILES),
                    PACES,
                    helping,
                )
                for helping in (False, True)
            )
            tiles = batches * TILES
            rows.add_row(
                f"{batches} of {TILES} tiles",
                f"{alone.seconds:.1f} s",
                f"{together.seconds:.1f} s",
                f"{tiles / alone.rate:.1f} s",
                str(together.helped),
                str(sum(together.asked) - tiles),
            )
    Console(width=110).print(rows)


if __name__ == "__main__":
    main()
