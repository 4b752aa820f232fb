"""MPI: the same bytes for any number of ranks; an error or a killed rank ends the job."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.quick import some_slow
from tests.runs import command, copied, datasets, planned, same, temporary_files, through

MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))


def mpi(ranks, *arguments):
    return subprocess.run(
        [MPIEXEC, "-n", str(ranks), *command(*arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("ranks", some_slow([2, 1, 4], 1))
def test_any_number_of_ranks_gives_the_same_bytes(ranks, finished, tmp_path):
    run = tmp_path / "run"
    planned(run, finished / "slices")
    for step in ("ingest", "split", "classify", "merge"):
        ended = mpi(ranks, step, "--run", run, "--workers", 1, "--json")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count('"step"') == 1  # the root alone speaks
    # The whole file, not its datasets alone: tiles are written in grid order, whoever read them.
    alone = finished / "run" / "segmentation.h5"
    assert (run / "segmentation.h5").read_bytes() == alone.read_bytes()
    for step in ("classify", "merge"):  # and nothing to do is no reason to hang
        assert mpi(ranks, step, "--run", run, "--workers", 1).returncode == 0


def test_a_killed_rank_ends_the_job(finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = subprocess.Popen(
        [MPIEXEC, "-n", "3", *command("classify", "--run", run)],
        env={
            **os.environ,
            "TBSEG_PAUSE": "linking:z001_y000_x001",
            "TBSEG_PAUSE_FLAG": str(flag),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 120
    while not flag.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    paused = next((run / "classes").glob(".z001_y000_x001.*.tmp"))
    os.kill(int(paused.name.split(".")[-3]), signal.SIGKILL)
    start = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - start < 10
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
    assert temporary_files(run) == []


def test_an_error_in_all_ranks_is_one_whole_object(finished, tmp_path):
    """mpiexec mixes the lines of the ranks, and may add its own."""
    run = copied(finished, tmp_path)
    ended = mpi(3, "classify", "--run", run, "--tiles", "z9", "--workers", 1, "--json")
    assert ended.returncode == 78, ended.stderr
    *_, last = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    error = json.loads(last)["error"]
    assert (error["class"], error["retried"]) == ("ConfigError", False)
    assert f"error: {error['what']}" in ended.stderr


def test_run_says_how_to_use_mpi(finished, tmp_path):
    run = copied(finished, tmp_path)
    ended = mpi(2, "run", tmp_path / "slices", "x.ilp", run)
    assert ended.returncode != 0
    assert "not an MPI program" in ended.stderr
