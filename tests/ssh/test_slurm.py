"""A host whose jobs SLURM runs: ``srun`` as the launcher, on a real slurmctld and slurmd."""

import asyncio
import subprocess
import time

import pytest

from tests.runs import datasets, planned, same, through
from tests.ssh.slurm import Slurm, missing
from tests.ssh.test_trigger import TILES_24, claims, computed, ended, together, trigger_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("net")]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    slurm = Slurm(tmp_path / "slurm")
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)  # before the rack's servers start: they hand it on
    yield slurm
    slurm.end()


def login_node(rack, monkeypatch, **more):
    made = rack(1, **more)
    made.hosts[0].extra = {"launcher": ["srun", "--ntasks=1", "--cpus-per-task=1"], "slots": 8}
    monkeypatch.setenv("AIRFLOW_CONN_HOST1", made.hosts[0].connection())
    return made


def test_24_tiles_by_srun(slurm, rack, finished, tmp_path, monkeypatch):
    made = login_node(rack, monkeypatch)
    run, local = tmp_path / "run", tmp_path / "local"
    for folder in (run, local):
        planned(folder, finished / "slices", tile=TILES_24, max_batches=24)
    through(run, until="split")
    events = together(run, made.settings(), "classify", 24)
    assert computed(events) == 24
    through(run)
    through(local)
    assert same(datasets(run / "segmentation.h5"), datasets(local / "segmentation.h5"))


def test_exit_codes_come_through_srun(slurm, rack, finished, tmp_path, monkeypatch):
    made = login_node(rack, monkeypatch)
    run = tmp_path / "run"
    planned(run, finished / "slices")
    assert asyncio.run(ended(trigger_of(run, made.settings(), batch=99)))["code"] == 78
    assert asyncio.run(ended(trigger_of(run, made.settings(), "merge")))["code"] == 74


def test_a_job_that_is_called_off_leaves_the_queue(slurm, rack, finished, tmp_path, monkeypatch):
    made = login_node(rack, monkeypatch, seconds=60)
    run = tmp_path / "run"
    planned(run, finished / "slices")

    def queued():
        asked = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
        return asked.stdout.splitlines()

    async def called_off():
        trigger = trigger_of(run, made.settings())
        task = asyncio.create_task(ended(trigger))
        while not claims(run) or not queued():
            await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await trigger.on_kill()

    asyncio.run(called_off())
    end = time.monotonic() + 20
    while queued():
        assert time.monotonic() < end, queued()
        time.sleep(0.2)
