"""Runs on file systems that behave as those of labs do: it works, or is refused before work begins.

Real ones, mounted here (FUSE): they hand on to a folder, but for what they refuse.
"""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import time

import h5py
import pytest

from tbseg_ops.errors import ConfigError, ResourceError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tbseg_ops.settings import PAUSE, PAUSE_FLAG, SEEN_WITHIN
from tests.filesystems.mounts import NEEDED, mounted
from tests.quick import some_slow
from tests.runs import VESSELS, command, datasets, planned, same, through

pytestmark = NEEDED

# What is refused -> the behaviour of which file systems that is.
WORKS = {
    "fsync of folders: EINVAL (SMB)": {"always": {"fsyncdir": errno.EINVAL}},
    "no fsync at all: EINVAL (some FUSE)": {
        "always": {"fsyncdir": errno.EINVAL, "fsync": errno.EINVAL}
    },
    "fsync: EOPNOTSUPP": {"always": {"fsync": errno.EOPNOTSUPP, "fsyncdir": errno.EOPNOTSUPP}},
    "no hard links: EPERM (SMB, exFAT)": {"always": {"link": errno.EPERM}},
    "no hard links: EOPNOTSUPP": {"always": {"link": errno.EOPNOTSUPP}},
    "names without case (SMB)": {"caseless": True, "always": {"link": errno.EPERM}},
    "no hard links: ENOSYS (FUSE)": {"always": {"link": errno.ENOSYS}},
}
REFUSED = {
    "no locks: ENOLCK (NFS without lockd)": {"always": {"flock": errno.ENOLCK}},
    "no locks: ENOSYS (Lustre without -o flock)": {"always": {"flock": errno.ENOSYS}},
    "no locks: EOPNOTSUPP": {"always": {"flock": errno.EOPNOTSUPP}},
    "no locks: EINVAL": {"always": {"flock": errno.EINVAL}},
    "read-only": {"always": {"create": errno.EROFS, "mkdir": errno.EROFS}},
}


@pytest.fixture(scope="module")
def slices(finished):
    return finished / "slices"


@pytest.fixture(scope="module")
def expected(finished):
    return datasets(finished / "run" / "segmentation.h5")


@pytest.fixture
def place(tmp_path):
    """Called with a behaviour: the mount of ``tmp_path / "backing"``."""
    return lambda behaviour: mounted(tmp_path / "backing", tmp_path / "mount", behaviour)


def whole_run(run, slices):
    planned(run, slices)
    through(run)


def _up_to_a_tile(run, slices, flag):
    planned(run, slices)
    through(run, until="split")
    os.environ.update({PAUSE.name: "linking:z001_y000_x000", PAUSE_FLAG.name: str(flag)})
    through(run)


QUICK = ("fsync of folders: EINVAL (SMB)", "names without case (SMB)")


@pytest.mark.parametrize(
    "name", some_slow(sorted(WORKS, key=lambda name: name not in QUICK), len(QUICK))
)
def test_what_can_work_works_also_after_a_kill(name, slices, expected, place, tmp_path):
    with place(WORKS[name]) as mount:
        run, flag = mount / "run", tmp_path / "flag"
        process = multiprocessing.get_context("fork").Process(
            target=_up_to_a_tile, args=(run, slices, flag)
        )
        process.start()
        wait_for(flag.exists, process.is_alive)
        process.kill()
        process.join()
        assert len(list((tmp_path / "backing").glob("run/classes/z*.h5"))) == 4
        whole_run(run, slices)
        assert same(datasets(run / "segmentation.h5"), expected)
    assert not list((tmp_path / "backing").rglob("*.set-aside-*"))


def wait_for(ready, alive):
    end = time.monotonic() + 60
    while not ready():
        assert alive()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKS)
def test_the_command_killed_with_its_workers_and_given_again(
    name, slices, expected, place, tmp_path
):
    with place(WORKS[name]) as mount:
        run = mount / "run"
        words = ["run", "--tile=20,24,30", "--workers=2", slices, VESSELS.classifier, run]
        job = subprocess.Popen(
            command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        classes = (tmp_path / "backing").glob
        wait_for(lambda: len(list(classes("run/classes/z*.h5"))) >= 2, lambda: job.poll() is None)
        os.killpg(job.pid, 9)
        job.communicate()
        again = subprocess.run(command(*words), capture_output=True, text=True, timeout=240)
        assert again.returncode == 0, again.stderr
        assert same(datasets(run / "segmentation.h5"), expected)
    assert not list((tmp_path / "backing").rglob("*.set-aside-*"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_is_said_before_a_slice_is_read(name, slices, place, tmp_path, monkeypatch):
    steps_plan = sys.modules["tbseg_ops.steps.plan"]
    monkeypatch.setattr(steps_plan, "read_inputs", lambda *_: pytest.fail("slices are read"))
    with place(REFUSED[name]) as mount, pytest.raises(ConfigError) as error:
        planned(mount / "run", slices)
    assert error.value.mend
    assert not list((tmp_path / "backing").rglob("inputs.json"))


@pytest.mark.parametrize("operation", ["fsync", "write"])
def test_a_failing_disk_is_a_failure_and_is_tried_again(operation, slices, expected, place):
    """A real error of fsync or write is never taken for a file system that lacks it."""
    with place({"nth": {operation: [9, errno.EIO]}}) as mount:
        with pytest.raises(ResourceError):
            whole_run(mount / "run", slices)
        whole_run(mount / "run", slices)
        assert same(datasets(mount / "run" / "segmentation.h5"), expected)


# In the order of a run: the classifier, slices for plan and ingest, slabs, tiles, the result.
@pytest.mark.parametrize("call", some_slow([1, 60, 300, *range(20, 300, 40)], 3))
def test_after_a_server_was_started_again_files_are_opened_once_more(
    call, finished, expected, place, tmp_path
):
    shutil.copytree(finished / "slices", tmp_path / "backing" / "slices")
    calls = tmp_path / "calls"
    with place({"restart": call, "calls": str(calls)}) as mount:
        whole_run(mount / "run", mount / "slices")
        assert same(datasets(tmp_path / "backing" / "run" / "segmentation.h5"), expected)
        assert int(calls.read_text()) > call
        run = RunFolder(mount / "run")
        records = [run.records("classify").get(tile.name) for tile in run.plan.grid]
        assert {record.attempts for record in records} == {1}
    assert not list((tmp_path / "backing").rglob("*.set-aside-*"))


def test_a_server_that_stays_so_is_a_failure(slices, place, tmp_path):
    planned(tmp_path / "backing" / "run", slices)
    with place({"always": {"read": errno.ESTALE}}) as mount:
        with pytest.raises(ResourceError, match="failed") as error:
            through(mount / "run")
        assert error.value.found == os.strerror(errno.ESTALE)
        assert error.value.retried


def test_a_file_that_is_open_elsewhere_is_left_to_the_file_system(
    finished, place, tmp_path, monkeypatch
):
    """Removed while it is open, it has another name until it is closed."""
    shutil.copytree(finished / "run", tmp_path / "backing" / "run")
    monkeypatch.setenv(SEEN_WITHIN.name, "0.1")
    with place({}) as mount:
        run = RunFolder(mount / "run")
        tile = run.records("classify").get(run.plan.grid[0].name)
        with (mount / "run" / tile.file).open("rb") as held:
            (mount / "run" / tile.file).unlink()
            left = list((tmp_path / "backing" / "run" / "classes").glob(".fuse_hidden*"))
            assert left
            through(run.path)
            assert status(run=run.path).verified
            assert all(path.exists() for path in left)
            held.read()
        wait_for(lambda: not any(path.exists() for path in left), lambda: True)


def test_input_of_a_file_system_without_locks_is_read(expected, place, tmp_path):
    (tmp_path / "backing").mkdir()
    with h5py.File(tmp_path / "backing" / "v.h5", "w") as file:
        file["data"] = VESSELS.raw()[..., 0]
    with place({"always": {"flock": errno.ENOLCK}}) as mount:
        whole_run(tmp_path / "run", mount / "v.h5")
    assert same(datasets(tmp_path / "run" / "segmentation.h5"), expected)
