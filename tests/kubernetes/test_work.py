"""The real tbseg in pods: the same run, the same bytes as on one machine."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runs import datasets, planned, same, through

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports

BIN = Path(sys.executable).parent


@pytest.fixture
def image(programs):
    """The image's programs are this environment's, and so are the kernels that it has compiled."""
    for name in ("tbseg", "mpiexec"):
        path = programs.folder / name
        path.write_text(f'#!/bin/sh\nunset NUMBA_CACHE_DIR\nexec "{BIN / name}" "$@"\n')
        path.chmod(0o755)


@pytest.mark.slow
def test_a_run_in_pods(task, image, variable, finished, tmp_path):
    """Every step, under another path of the shared folder; merge by two ranks in one pod."""
    run = tmp_path / "run"
    planned(run, finished / "slices", max_batches=4)
    there = tmp_path / "there"
    there.mkdir()
    (there / "run").symlink_to(run)
    variable(paths={str(run): str(there / "run")}, ranks=2, memory={"merge": "4Gi"})

    def work(step, **more):
        return task(step=step, task_id=step, run_dir=str(run), **more).run()

    assert work("doctor")["fit"] is True
    assert work("ingest")["computed"] == 1
    for step in ("split", "classify"):
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda b, step=step: work(step, what=b, map_index=b), range(4)))
        assert [one["computed"] for one in found] == [2] * 4
    merged = work("merge")
    assert merged["computed"] == 1
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
