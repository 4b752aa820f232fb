"""The predicted memory of a worker is what one really takes."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from tbseg_ops.forecast import memory_needed
from tests.quick import some_slow
from tests.reference_sets import REFERENCE, ReferenceSet
from tests.runs import planned, through

LARGE = ReferenceSet("vessels-3d", "_128").volume

# VmHWM is the program's own peak; getrusage would count that of the process which started it.
CLASSIFY = """
from pathlib import Path
from tbseg_ops import steps
steps.classify(run=Path({run!r}), tiles=({tile!r},))
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def test_of_two_stages_it_is_within_a_fifth_too(tmp_path):
    """The volume of two channels, four times in each direction: large enough to matter."""
    raw = np.tile(ReferenceSet("two-channel").raw(), (3, 3, 3, 1))[:96, :120, :140]
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        file["data"] = raw
    check(f"{tmp_path}/volume.h5:/data", REFERENCE / "two-stage" / "classifier.ilp", tmp_path, {})


@pytest.mark.parametrize(
    ("classifier", "changes"),
    some_slow(
        [
            ("vessels-3d", {}),
            ("vessels-all-features", {}),
            ("vessels-all-features", {"probabilities": "all", "output": "intensity"}),
        ],
        1,
    ),
)
def test_prediction_is_within_a_fifth(classifier, changes, tmp_path):
    check(f"{LARGE}:/data", ReferenceSet(classifier).classifier, tmp_path, changes)


def check(volume, classifier, folder, changes):
    run = folder / "run"
    made = planned(run, volume, classifier=str(classifier), tile=(128, 128, 128), **changes)
    through(run, until="split")
    code = CLASSIFY.format(run=str(run), tile=made.grid[0].name)
    # The first worker may have to compile the kernels, which takes memory of its own.
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert memory_needed(made) == pytest.approx(1024 * int(done.stdout), rel=0.2)
