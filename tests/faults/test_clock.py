"""The clock of a machine is a day off, or jumps while a run goes on: nothing is decided by it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tbseg_ops.run.status import status
from tests.airflow_home import ROOT
from tests.runs import datasets, same

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs Debian's faketime")

# As a server's clock is another one, the times of files may be told as they are.
TIMES = {"of this machine, too": {}, "of a server": {"NO_FAKE_STAT": "1"}}

SWEEPS = """
import sys, time
from pathlib import Path
from tbseg_ops.storage import alive, commit, visibility
alive.of_this_machine = visibility.of_this_machine = lambda folder: False
folder, ahead = Path(sys.argv[1]), float(sys.argv[2])
(file,) = folder.iterdir()
assert abs(time.time() - file.stat().st_mtime - ahead) < 600
print(commit.sweep(folder))
time.sleep = lambda seconds: None  # with this library it fails
looks = iter([None, None, "seen"])
print(visibility.looked_again(lambda: next(looks), folder / "b", since=time.time() - ahead))
"""

JUMPS = """
import itertools, sys
from pathlib import Path
from tbseg_ops import steps
from tbseg_ops.run import Pool
from tests.runs import planned, spec_of
run, slices, clock = map(Path, sys.argv[1:4])
days = itertools.cycle(["+1d", "-1d", "+0d", "-400d", "+2h"])
def jump(*_):
    clock.write_text(next(days) + chr(10))
steps.plan(spec=spec_of(slices), run=run, progress=jump)
for number in range(2):
    for step in ("ingest", "split", "classify", "merge", "verify"):
        done = getattr(steps, step)(run=run, team=Pool(2), progress=jump)
        print(step, done.computed)
    steps.publish(run=run, progress=jump)
"""


def with_clock(program, *words, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_NO_CACHE": "1",
            # A clock that is set does not move this one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_is_off_sweeps_nothing_and_looks_again(days, tmp_path):
    """Nobody sees from here whether the writer of that file lives; it was written just now."""
    (tmp_path / ".a.h5.pod.k0123456789ab.1.7b78eb00.tmp").touch()
    ahead = days * 24 * 3600
    told = with_clock(SWEEPS, tmp_path, ahead, FAKETIME=f"{days:+}d", NO_FAKE_STAT="1")
    assert told == ["0", "seen"]


@pytest.mark.slow
@pytest.mark.parametrize("times", TIMES)
def test_a_clock_that_jumps_in_every_step(times, finished, tmp_path):
    run, clock = tmp_path / "run", tmp_path / "clock"
    clock.write_text("+1d\n")
    more = {"FAKETIME_TIMESTAMP_FILE": str(clock), **TIMES[times]}
    told = with_clock(JUMPS, run, finished / "slices", clock, **more)
    assert "classify 8" in told[:5]
    assert [line.split()[1] for line in told[5:9]] == ["0"] * 4
    assert status(run=run).verified
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
