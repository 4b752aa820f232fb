"""The predicted memory of a worker is what one really takes."""

import os
import subprocess

import pytest

from tbseg_ops.steps import memory_needed
from tests.reference_sets import ReferenceSet
from tests.runs import command, planned, through

LARGE = ReferenceSet("vessels-3d", "_128").volume


@pytest.mark.parametrize(
    ("classifier", "changes"),
    [
        ("vessels-3d", {}),
        ("vessels-all-features", {}),
        ("vessels-all-features", {"probabilities": "all", "output": "intensity"}),
    ],
)
def test_prediction_is_within_a_fifth(classifier, changes, tmp_path):
    ilp = str(ReferenceSet(classifier).classifier)
    made = planned(tmp_path, f"{LARGE}:/data", classifier=ilp, tile=(128, 128, 128), **changes)
    through(tmp_path, until="split")
    # The first worker may have to compile the kernels, which takes memory of its own.
    for _ in range(2):
        process = subprocess.Popen(
            command("classify", "--run", tmp_path, "--workers", 1, "--tiles", made.grid[0].name)
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
    assert memory_needed(made) == pytest.approx(usage.ru_maxrss * 1024, rel=0.2)
