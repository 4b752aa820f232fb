"""All tests that docs/reliability.md names, and the guards: ``make test-faults``.

``python -m tests.faults.table [--write] [WORD ...]`` runs them, slow ones, too, prints for each row
of the page how many times its tests were run and what came of it, and with ``--write`` puts that
into the page. Words choose the rows that have one of them, or are below a heading that has;
``guards`` stands for the guards.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.airflow_home import ROOT
from tests.faults import guards
from tests.faults.outcomes import AT_ONCE, Outcome, outcomes

PAGE = ROOT / "docs/reliability.md"
TEST = re.compile(r"`([a-z0-9_/]+\.py::test_[a-z0-9_]+)`")
NOT_RUN = "not run"
HELD = re.compile(rf"\d+ of \d+(, \d+ skipped)?|{NOT_RUN}")


@dataclass(frozen=True)
class Row:
    """A row of the page: its ``line``, counted from 0, the heading above, and its cells."""

    line: int
    heading: str
    cells: tuple[str, ...]

    @property
    def tests(self) -> list[str]:
        """FILE.py::NAME of each."""
        return TEST.findall(self.cells[2])

    @property
    def held(self) -> str:
        """What the page says came of it."""
        return self.cells[3]

    def with_held(self, held: str) -> str:
        """The line with another last cell."""
        return f"| {' | '.join((*self.cells[:3], held))} |"


def rows(page: str) -> list[Row]:
    """The rows that name tests."""
    found, heading = [], ""
    for number, line in enumerate(page.splitlines()):
        if line.startswith("## "):
            heading = line
        elif TEST.search(line) and line.startswith("|"):
            cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
            found.append(Row(number, heading, cells))
    return found


def held(row: Row, found: dict[str, Counter[Outcome]]) -> str:
    """``12 of 12``: so many of the times that its tests were run they passed."""
    counts = sum((found.get(test, Counter()) for test in row.tests), start=Counter[Outcome]())
    if not counts.total():
        return NOT_RUN
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    return f"{counts['passed']} of {counts['passed'] + counts['failed']}{skipped}"


def is_well(row: Row, found: dict[str, Counter[Outcome]]) -> bool:
    """Whether each test of a row was run and none failed."""
    return all(test in found and not found[test]["failed"] for test in row.tests)


def main(words: Sequence[str], page: Path, write: bool) -> bool:
    """Run, print, write; whether all is well."""
    begun = time.monotonic()
    chosen = [
        row
        for row in rows(page.read_text())
        if not words or any(word in row.heading + row.cells[0] for word in words)
    ]
    well = True
    if chosen:
        tests = sorted({f"tests/{test}" for row in chosen for test in row.tests})
        found = outcomes(tests, ROOT, *AT_ONCE, shown=True)
        well = all(is_well(row, found) for row in chosen)
        for row in chosen:
            print(f"{held(row, found):20}  {row.cells[0]}", flush=True)
        if write:
            _write(page, {row.line: row.with_held(held(row, found)) for row in chosen})
    if not words or "guards" in words:
        well = guards.main() and well
    minutes = (time.monotonic() - begun) / 60
    print(f"{'all held' if well else 'NOT ALL HELD'}, {minutes:.0f} minutes", flush=True)
    return well


def _write(page: Path, changed: dict[int, str]) -> None:
    """Other rows may have been written meanwhile: the page is read again."""
    lines = page.read_text().splitlines()
    page.write_text("\n".join(changed.get(n, line) for n, line in enumerate(lines)) + "\n")


if __name__ == "__main__":
    options = sys.argv[1:]
    given = [word for word in options if word != "--write"]
    sys.exit(0 if main(given, PAGE, write="--write" in options) else 1)
