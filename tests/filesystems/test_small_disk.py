"""A disk of 16 MB: full, without inodes, or read-only, in each step; and goes on when it is not."""

import errno
import json
import os
import random
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, ResourceError
from tbseg_ops.run.status import status
from tests.filesystems.mounts import memory_disk, read_only
from tests.quick import some_slow
from tests.runs import datasets, planned, same, temporary_files

BELIEVES_IN_ROOM = """
import sys
from tbseg_ops.cli.main import main
import tbseg_ops.steps
sys.modules["tbseg_ops.steps.merge"].free_bytes = lambda path: 1 << 40
main()
"""
FULL = r"the disk is (full: [\d,]+ bytes and \d+ inodes|too small .+: [\d.,]+ (bytes|GB)) free.*"
STEPS = ("plan", "ingest", "split", "classify", "merge", "verify", "publish")


@pytest.fixture
def disk(tmp_path):
    with memory_disk(tmp_path / "disk", "size=16m,nr_inodes=400") as mount:
        yield mount


@contextmanager
def full(disk: Path, left: int):
    """All but ``left`` bytes is taken by somebody else."""
    there, filler = os.statvfs(disk), disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - left)
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def without_inodes(disk: Path, left: int):
    """All but ``left`` names are taken by somebody else."""
    folder = disk / "names"
    folder.mkdir()
    taken = os.statvfs(disk).f_favail - left
    names = [folder / str(number) for number in range(taken)]
    for name in names:
        name.touch()
    try:
        yield
    finally:
        for name in names:
            name.unlink()
        folder.rmdir()


def done(step: str, run: Path, slices: Path) -> None:
    if step == "plan":
        planned(run, slices)
    else:
        getattr(steps, step)(run=run)


def assert_whole(run: Path) -> None:
    """What has a final name can be read, and there is nothing else."""
    assert temporary_files(run) == []
    for path in run.rglob("*.h5"):
        datasets(path)
    for path in run.rglob("*.json"):
        json.loads(path.read_bytes())


def refused(disk: Path, finished: Path, taken, found: str) -> set[str]:
    """Each step, first while the disk is ``taken``, then again; those that were refused."""
    run, errors = disk / "run", {}
    for step in STEPS:
        with taken():
            try:
                done(step, run, finished / "slices")
            except ResourceError as error:
                errors[step] = error
            assert_whole(run)
        done(step, run, finished / "slices")
    assert status(run=run).verified
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
    for error in errors.values():
        assert str(disk) in error.file
        assert re.fullmatch(found, f"{error.what}: {error.found}"), error
        assert error.mend.startswith("free some space")
    return set(errors)


def test_it_is_full_in_each_step(disk, finished):
    assert refused(disk, finished, lambda: full(disk, 0), FULL) == set(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_it_fills_up_anywhere_in_a_step(seed, disk, finished):
    left = random.Random(seed)
    assert refused(disk, finished, lambda: full(disk, left.randrange(1, 300_000)), FULL)


@pytest.mark.parametrize("left", some_slow([0, 1, 2, 5], 1))
def test_it_has_no_inodes_left(left, disk, finished):
    found = rf"the disk is full: [\d,]+ bytes and [0-{left}] inodes free on {disk} \(tmpfs\)"
    steps_refused = refused(disk, finished, lambda: without_inodes(disk, left), found)
    assert steps_refused == set(STEPS) if left == 0 else steps_refused


@pytest.mark.slow
def test_it_fills_up_while_the_merged_file_is_written(disk, finished):
    """After there was room. In a process of its own, since HDF5 may take it along."""
    run = disk / "run"
    for step in STEPS[:4]:
        done(step, run, finished / "slices")
    with full(disk, 8192):
        found = subprocess.run(
            [sys.executable, "-c", BELIEVES_IN_ROOM, "merge", "--run", run, "--workers", "1"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert found.returncode == ResourceError.exit_code, found.stderr
        assert "the disk is full" in found.stderr
        assert_whole(run)
    done("merge", run, finished / "slices")
    done("verify", run, finished / "slices")


def test_it_becomes_read_only_in_the_middle(disk, finished):
    run = disk / "run"
    planned(run, finished / "slices")
    for step in STEPS[1:]:
        with pytest.raises(ConfigError) as caught, read_only(disk):
            done(step, run, finished / "slices")
        assert str(run) in caught.value.file
        assert os.strerror(errno.EROFS) in caught.value.found
        assert_whole(run)
        done(step, run, finished / "slices")
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


def test_it_becomes_read_only_between_two_tiles(disk, finished):
    run, guard = disk / "run", []
    for step in STEPS[:3]:
        done(step, run, finished / "slices")

    def fourth(piece, what, number, total):
        if number == 4:
            guard.append(read_only(disk))
            guard[0].__enter__()

    with pytest.raises(ConfigError, match=os.strerror(errno.EROFS)):
        steps.classify(run=run, progress=fourth)
    guard[0].__exit__(None, None, None)
    assert_whole(run)
    assert steps.classify(run=run).reused == 4
