"""How often the slices are read on the way into a run."""

from collections import Counter
from pathlib import Path

import numpy as np

from tests.reference_sets import ReferenceSet
from tests.runs import tbseg
from tests.synthetic import write_stack

SLICES, WORKERS = 1000, 4
SAMPLED = 8

# Loaded by each Python process of the command, those of the pool included.
COUNTING = """
import os, sys

log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def on(event, arguments):
    if event == "open" and str(arguments[0]).startswith({slices!r} + "/"):
        os.write(log, f"open {{arguments[0]}}\\n".encode())

sys.addaudithook(on)
from tbseg_ops.volume import stack
page_offsets = stack.page_offsets

def counted(file, size, path):
    os.write(log, f"header {{path}}\\n".encode())
    return page_offsets(file, size, path)

stack.page_offsets = counted
"""


def test_no_worker_audits_the_stack_again(tmp_path):
    """Opened for the audit, the fingerprint and the pixels; header parsed for the first and last.

    A few are looked at once more by plan: do the values fit the classifier? The first is, too: has
    it one page, or is it a part of a stack?

    With an audit by each worker there were 2,000 more opens and headers for every two workers.
    """
    slices, log, run = tmp_path / "slices", tmp_path / "log", tmp_path / "run"
    write_stack(slices, np.zeros((SLICES, 16, 16), np.uint8), names="img_{z}.tif")
    for z, path in enumerate(sorted(slices.iterdir())):
        content = bytearray(path.read_bytes())
        content[-1] = z % 251
        path.write_bytes(content)
    hook = tmp_path / "hook/sitecustomize.py"
    hook.parent.mkdir()
    hook.write_text(COUNTING.format(log=str(log), slices=str(slices)))
    classifier = ReferenceSet("vessels-3d").classifier

    def counts(*arguments: object) -> dict[str, Counter[int]]:
        """For opens and headers: how many slices had them how often."""
        log.write_text("")
        done = tbseg(*arguments, PYTHONPATH=f"{hook.parent}:{Path(__file__).parents[2]}")
        assert done.returncode == 0, done.stderr
        lines = Counter(log.read_text().splitlines())
        print(arguments[0], Counter(line.split()[0] for line in lines.elements()))
        return {
            kind: Counter(lines[f"{kind} {path}"] for path in slices.iterdir())
            for kind in ("open", "header")
        }

    planned = counts("plan", slices, classifier, run, "--tile", "500,16,16", "--ingest", "copy")
    rest = SLICES - SAMPLED
    assert planned == {
        "open": Counter({2: rest - 1, 3: SAMPLED + 1}),
        "header": Counter({1: rest, 2: SAMPLED}),
    }
    ingested = counts("ingest", "--run", run, "--workers", WORKERS)
    assert ingested == {"open": Counter({1: SLICES}), "header": Counter({1: SLICES})}
    again = counts("ingest", "--run", run, "--workers", WORKERS)
    assert again == {"open": Counter({0: SLICES}), "header": Counter({0: SLICES})}
    referring = counts("plan", slices, classifier, run.with_name("refers"), "--tile", "500,16,16")
    assert referring == {
        "open": Counter({2: rest - 1, 3: SAMPLED + 1}),
        "header": Counter({2: rest, 3: SAMPLED}),
    }
    ingested = counts("ingest", "--run", run.with_name("refers"), "--workers", WORKERS)
    assert ingested == {"open": Counter({0: SLICES}), "header": Counter({0: SLICES})}
