"""Teams: every piece once, errors at once."""

import os
import shutil
import subprocess
import sys

import psutil
import pytest

from tbseg_ops.errors import ResourceError
from tbseg_ops.processes import team as module
from tbseg_ops.processes.launcher import _RANKS, _SIZES, launched
from tbseg_ops.processes.team import kept
from tbseg_ops.run import Alone, Pool, team
from tests.runs import planned, stack
from tests.workers import die, fail, slow_first


@pytest.mark.parametrize("workers", [Alone(), Pool(2)])
def test_every_piece_once(workers):
    assert sorted(piece for piece, _ in workers.map(slow_first, range(1, 8))) == list(range(1, 8))


def test_a_killed_worker_is_a_resource_error():
    with pytest.raises(ResourceError, match="worker process died") as caught:
        list(Pool(2).map(die, range(8)))
    assert "one was ended by SIGKILL; under way: " in caught.value.found


def test_workers_that_are_done_end_without_a_word(capfd):
    for _ in range(5):
        assert len(list(Pool(2).map(slow_first, range(1, 4)))) == 3
    assert capfd.readouterr().err == ""


def test_short_pieces_are_done_before_workers_have_begun(monkeypatch):
    """And what is left then is theirs."""
    here = {process for _, process in Pool(2).map(slow_first, range(1, 6), short=True)}
    assert here == {os.getpid()}
    monkeypatch.setattr(module, "_BEGIN_SECONDS", 0.3)
    found = list(Pool(2).map(slow_first, [0, *range(1, 6)], short=True))
    assert sorted(piece for piece, _ in found) == list(range(6))
    assert [piece for piece, process in found if process == os.getpid()] == [0]


def who(pool):
    """The processes of a pool that do some pieces."""
    return {process for _, process in pool.map(slow_first, range(1, 6))}


def test_workers_stay_for_what_is_done_next_and_end_with_the_context():
    pool = Pool(2)
    with kept(pool):
        with kept(pool):  # a step that keeps them, in a command that does
            first = who(pool)
            while len(first) < pool.workers:  # one may have begun when all was done
                first |= who(pool)
        assert who(pool) <= first
        with pytest.raises(ValueError, match="piece 3"):
            list(pool.map(fail, range(1000)))
        others = who(pool)
        assert not others & first
        under_way = pool.map(slow_first, range(1, 6))
        next(under_way)
        assert not who(pool) & others, "what is under way keeps its workers"
        assert len(list(under_way)) == 4
    known = {child.pid for child in psutil.Process().children()}
    assert not known & (others | first), "they are gone when the context ends"
    assert not who(pool) & others


@pytest.mark.parametrize("workers", [Alone(), Pool(2)])
def test_the_first_exception_ends_the_whole(workers):
    with pytest.raises(ValueError, match="piece 3"):
        list(workers.map(fail, range(1000)))


def test_the_team_follows_the_surroundings(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(team(1), Alone)
    assert team(3).workers == 3
    monkeypatch.setitem(os.environ, "PMI_SIZE", "1")
    assert isinstance(team(1), Alone)


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 1),
        ({"PMI_SIZE": "1"}, 1),
        ({"PMI_SIZE": "4"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, 2),
        ({"SLURM_STEP_NUM_TASKS": "3", "SLURM_NTASKS": "3"}, 3),
        ({"SLURM_NTASKS": "3"}, 1),  # of the job: sbatch itself starts one
        ({"PMIX_RANK": "1"}, 2),
        ({"PMIX_RANK": "0"}, 1),
        ({"PMI_SIZE": "many"}, 1),
    ],
)
def test_what_a_launcher_says(variables, count, monkeypatch):
    for name in (*_SIZES, *_RANKS):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched()[0] == count


def test_ranks_that_mpi_does_not_join_do_nothing(tmp_path):
    """As the mpirun of another MPI starts them: each would do everything."""
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    there = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    for step in ("ingest", "split", "classify", "merge", "verify"):
        command = [sys.executable, "-m", "tbseg_ops.cli.main", step, f"--run={tmp_path / 'run'}"]
        done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=120)
        assert done.returncode == 78, done.stderr
        assert "mpirun of Open MPI started 2 processes, which MPICH does not join" in done.stderr
        assert "mpiexec -n 2" in done.stderr
    assert not (tmp_path / "run" / "volume").exists()


@pytest.mark.skipif(shutil.which("mpirun.openmpi") is None, reason="needs Debian's openmpi-bin")
def test_the_real_mpirun_of_open_mpi(tmp_path):
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    launcher = ["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "-n", "2"]
    command = [sys.executable, "-m", "tbseg_ops.cli.main", "ingest", f"--run={tmp_path / 'run'}"]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 78, done.stderr
    assert "mpirun of Open MPI started 2 processes" in done.stderr
    assert not (tmp_path / "run" / "volume").exists()
