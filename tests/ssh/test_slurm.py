"""A host whose jobs SLURM runs: ``srun`` as the launcher, on a real slurmctld and slurmd."""

import asyncio
import subprocess
import time

import pytest

from tbseg_ops.run.status import status
from tests.runs import datasets, planned, same, stack, tbseg, through
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


def test_a_run_in_the_queue_needs_nobody(slurm, finished, tmp_path):
    """24 batches by an array of 5 tasks, the most that this site allows; then the same again."""
    run = tmp_path / "a run"
    planned(run, finished / "slices", tile=TILES_24, max_batches=24)

    def until_done():
        end = time.monotonic() + 300
        while not status(run=run).verified or not (run / "report.html").exists():
            assert time.monotonic() < end, [p.read_text() for p in run.glob("slurm/*.log")]
            time.sleep(1)

    def queued():
        return subprocess.run(["squeue", "--noheader"], capture_output=True, text=True).stdout

    done = tbseg("sbatch", run, "--", "--cpus-per-task=1", "--time=10")
    assert done.returncode == 0, done.stderr
    assert "an array of 5" in done.stdout
    until_done()
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
    while queued():
        time.sleep(0.2)

    lost = next(run.glob("classes/*.h5"))
    lost.unlink()
    (run / "segmentation.h5").unlink()
    (run / "report.html").unlink()
    assert tbseg("sbatch", run, "--at-once=1").returncode == 0
    until_done()
    assert lost.exists()


def test_what_waits_for_a_failed_job_leaves_the_queue(slurm, finished, tmp_path):
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices"))
    (tmp_path / "slices/img_3.tif").write_bytes(b"II*\0")
    assert tbseg("sbatch", run).returncode == 0
    end = time.monotonic() + 60
    while subprocess.run(["squeue", "--noheader"], capture_output=True, text=True).stdout:
        assert time.monotonic() < end
        time.sleep(0.2)
    (log,) = run.glob("slurm/*.log")
    assert "img_3.tif" in log.read_text()
    refused = tbseg("sbatch", run, "--", "--partition=nowhere")
    assert refused.returncode == 78
    assert "nowhere" in refused.stderr
