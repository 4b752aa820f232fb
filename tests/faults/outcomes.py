"""Tests run by another pytest, and what became of each."""

import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

Outcome = Literal["passed", "failed", "skipped"]
AT_ONCE = ("-n", "3", "--dist", "loadgroup")  # as make test does: one in three waits for something


class RunError(Exception):
    """pytest ran no test: it names what pytest said."""


def outcomes(
    tests: Sequence[str], root: Path, *options: str, shown: bool = False
) -> dict[str, Counter[Outcome]]:
    """Run ``tests`` (``tests/FILE.py::NAME``, with or without parameters) of the tree ``root``.

    By FILE.py::NAME, how often a test passed, failed or was skipped, over all its parameters.
    RunError if none was run. ``shown``: what pytest says goes to this process' output.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [*program, f"--junitxml={report}", *options, *tests],
            cwd=root,
            stdout=None if shown else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = _read(report) if report.exists() else {}
    if not found or ran.returncode not in (0, 1):
        raise RunError(ran.stdout or f"pytest ended with {ran.returncode}")
    return found


def _read(report: Path) -> dict[str, Counter[Outcome]]:
    found: dict[str, Counter[Outcome]] = defaultdict(Counter)
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.attrib["classname"].removeprefix("tests.").replace(".", "/") + ".py"
        parts = {part.tag for part in case}
        outcome: Outcome = "passed"
        if parts & {"failure", "error"}:
            outcome = "failed"
        elif "skipped" in parts:
            outcome = "skipped"
        name = re.match(r"\w+", case.attrib["name"])  # behind it parameters, and xdist's group
        assert name is not None
        found[f"{file}::{name[0]}"][outcome] += 1
    return dict(found)
