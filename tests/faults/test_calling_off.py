"""tbseg cancel: all work on a run ends within seconds, nothing begins, nothing is lost."""

import os
import subprocess
import time

import psutil
import pytest

from tbseg_ops import steps
from tests.faults.test_kill import children, start, wait_for
from tests.faults.test_mpi import MPIEXEC
from tests.runs import (
    command,
    copied,
    datasets,
    planned,
    same,
    spec_of,
    tbseg,
    temporary_files,
    through,
)


@pytest.mark.parametrize("workers", [1, 2])
def test_work_that_is_going_on_ends(workers, finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = start(flag, "linking:z001", "classify", "--run", run, "--workers", workers)
    wait_for(flag, process)
    pids = children(process.pid)
    begin = time.monotonic()
    assert tbseg("cancel", run).returncode == 0
    output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130
    assert time.monotonic() - begin < 15
    assert "the run was called off" in output
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert temporary_files(run) == []
    refused = tbseg("classify", "--run", run)
    assert refused.returncode == 130
    assert "make the plan again" in refused.stderr
    planned(run, finished / "slices")
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


def test_ranks_of_an_mpi_job_end(finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = subprocess.Popen(
        [MPIEXEC, "-n", "2", *command("classify", "--run", run)],
        env={**os.environ, "TBSEG_PAUSE": "linking:z001", "TBSEG_PAUSE_FLAG": str(flag)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(flag, process)
    assert tbseg("cancel", run).returncode == 0
    output = process.communicate(timeout=30)[0].decode()
    assert process.returncode != 0
    assert "the run was called off" in output


def test_what_is_no_run_cannot_be_called_off(tmp_path):
    assert tbseg("cancel", tmp_path).returncode == 78


def test_a_finished_run_can_be_called_off_and_taken_back(finished, tmp_path):
    run = copied(finished, tmp_path)
    tbseg("cancel", run)
    assert tbseg("merge", "--run", run).returncode == 130
    planned(run, tmp_path / "slices")
    assert tbseg("merge", "--run", run).returncode == 0


def test_a_run_that_is_called_off_while_it_is_planned_again_ends(finished, tmp_path):
    """The plan takes back what was called off before it began, and nothing later."""
    run = copied(finished, tmp_path)
    assert tbseg("cancel", run).returncode == 0
    looked = []

    def meanwhile(name, what, done, total):
        if not looked:
            looked.append(tbseg("cancel", run).returncode)

    steps.plan(spec=spec_of(tmp_path / "slices"), run=run, progress=meanwhile)
    assert looked == [0]
    assert tbseg("classify", "--run", run).returncode == 130
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run)
    assert tbseg("classify", "--run", run).returncode == 0
