"""What is asked of SLURM; tests/ssh/test_slurm.py has a real one."""

import pytest

from tbseg_ops.errors import ConfigError
from tbseg_ops.hosts.sbatch import submit
from tbseg_ops.run import RunFolder
from tests.runs import planned, stack

SBATCH = """#!/bin/sh
echo "sbatch $*" >> {log}
n=$(grep -c ^sbatch {log})
[ "$n" -lt {refused} ] || { echo "no such account" >&2; exit 1; }
echo "$n;cluster"
"""
OTHER = """#!/bin/sh
echo "$(basename $0) $*" >> {log}
"""


@pytest.fixture
def folder(tmp_path):
    planned(tmp_path / "run", stack(tmp_path / "slices"), max_batches=3)
    return RunFolder(tmp_path / "run")


def slurm(tmp_path, monkeypatch, refused):
    log = tmp_path / "log"
    for name, text in {"sbatch": SBATCH, "scontrol": OTHER, "scancel": OTHER}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text.replace("{log}", str(log)).replace("{refused}", str(refused)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return log


def test_each_job_waits_for_the_one_before_it(folder, tmp_path, monkeypatch):
    log = slurm(tmp_path, monkeypatch, refused=99)
    jobs = submit(folder, ["--mem=8G"], at_once=2)
    assert [(job.step, job.number, job.tasks) for job in jobs] == [
        *(("ingest", "1", 1), ("split", "2", 1), ("classify", "3", 3)),
        *(("merge", "4", 1), ("verify", "5", 1), ("publish", "6", 1)),
    ]
    asked = [line for line in log.read_text().splitlines() if line.startswith("sbatch")]
    assert all("--mem=8G" in line for line in asked)
    assert "--dependency" not in asked[0]
    for number, line in enumerate(asked[1:], 1):
        assert f"--dependency=afterok:{number} " in line
    assert "--array=0-2%2" in asked[2]


def test_a_refused_job_takes_those_before_it_out_of_the_queue(folder, tmp_path, monkeypatch):
    log = slurm(tmp_path, monkeypatch, refused=3)
    with pytest.raises(ConfigError, match="no such account"):
        submit(folder, [])
    assert log.read_text().splitlines()[-1] == "scancel 1 2"


def test_without_slurm_it_is_said(folder, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="sbatch on the PATH"):
        submit(folder, [])
