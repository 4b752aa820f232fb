"""Runs on file systems that behave as those of labs do: it works, or is refused before work begins.

Real ones, mounted here (FUSE): they hand on to a folder, but for what they refuse.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.airflow_home import ROOT
from tests.runs import VESSELS, datasets, same, stack

pytestmark = [
    pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="needs /dev/fuse"),
    pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs Debian's fuse3"),
]

# What is refused -> the behaviour of which file systems that is.
WORKS = {
    "fsync of folders: EINVAL (SMB)": {"always": {"fsyncdir": errno.EINVAL}},
    "no fsync at all: EINVAL (some FUSE)": {
        "always": {"fsyncdir": errno.EINVAL, "fsync": errno.EINVAL}
    },
    "fsync: EOPNOTSUPP": {"always": {"fsync": errno.EOPNOTSUPP, "fsyncdir": errno.EOPNOTSUPP}},
    "no hard links: EPERM (SMB, exFAT)": {"always": {"link": errno.EPERM}},
    "no hard links: EOPNOTSUPP": {"always": {"link": errno.EOPNOTSUPP}},
    "no hard links: ENOSYS (FUSE)": {"always": {"link": errno.ENOSYS}},
}
REFUSED = {
    "no locks: ENOLCK (NFS without lockd)": {"always": {"flock": errno.ENOLCK}},
    "no locks: ENOSYS (Lustre without -o flock)": {"always": {"flock": errno.ENOSYS}},
    "no locks: EOPNOTSUPP": {"always": {"flock": errno.EOPNOTSUPP}},
    "no locks: EINVAL": {"always": {"flock": errno.EINVAL}},
    "read-only": {"always": {"create": errno.EROFS, "mkdir": errno.EROFS}},
}


@contextmanager
def mounted(folder, behaviour):
    """The folder, under a mount that behaves so."""
    backing, mount = folder / "backing", folder / "mount"
    backing.mkdir(parents=True)
    mount.mkdir()
    program = [sys.executable, "-m", "tests.filesystems.passthrough"]
    server = subprocess.Popen([*program, backing, mount, json.dumps(behaviour)], cwd=ROOT)
    try:
        end = time.monotonic() + 20
        while not os.path.ismount(mount):
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mount], check=False)
        server.wait(20)


def tbseg_run(volume, run, **more):
    words = [
        "run",
        "--tile=20,24,30",
        "--workers=2",
        str(volume),
        str(VESSELS.classifier),
        str(run),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "tbseg_ops.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **more,
    )


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    return stack(tmp_path_factory.mktemp("volume") / "slices")


@pytest.fixture(scope="module")
def expected(slices, tmp_path_factory):
    run = tmp_path_factory.mktemp("expected") / "run"
    job = tbseg_run(slices, run)
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0, said
    return datasets(run / "segmentation.h5")


QUICK = ("fsync of folders: EINVAL (SMB)", "no hard links: EPERM (SMB, exFAT)")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WORKS],
)
def test_what_can_work_works_also_after_a_kill(name, slices, expected, tmp_path):
    with mounted(tmp_path, WORKS[name]) as mount:
        run = mount / "run"
        job = tbseg_run(slices, run)
        end = time.monotonic() + 60
        while len(list((tmp_path / "backing").glob("run/classes/z*.h5"))) < 2:
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        os.killpg(job.pid, 9)
        job.communicate()
        again = tbseg_run(slices, run)
        said, _ = again.communicate(timeout=120)
        assert again.returncode == 0, said
        assert same(datasets(run / "segmentation.h5"), expected)
        assert not list((tmp_path / "backing").rglob("*.set-aside-*"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_is_said_before_a_slice_is_read(name, slices, tmp_path):
    with mounted(tmp_path, REFUSED[name]) as mount:
        job = tbseg_run(slices, mount / "run")
        said, _ = job.communicate(timeout=60)
        assert job.returncode == 78, said
        assert "mend: " in said
        assert not list((tmp_path / "backing").rglob("inputs.json"))
        assert "slices" not in said.partition("error:")[0]


@pytest.mark.parametrize("operation", ["fsync", "write"])
def test_a_failing_disk_is_a_failure_and_is_tried_again(operation, slices, expected, tmp_path):
    """A real error of fsync or write is never taken for a file system that lacks it."""
    with mounted(tmp_path, {"nth": {operation: [9, errno.EIO]}}) as mount:
        job = tbseg_run(slices, mount / "run")
        said, _ = job.communicate(timeout=120)
        assert job.returncode == 75, said
        again = tbseg_run(slices, mount / "run")
        said, _ = again.communicate(timeout=120)
        assert again.returncode == 0, said
        assert same(datasets(mount / "run" / "segmentation.h5"), expected)


def test_input_of_a_file_system_without_locks_is_read(expected, tmp_path):
    import h5py

    with mounted(tmp_path, {"always": {"flock": errno.ENOLCK}}) as mount:
        with h5py.File(tmp_path / "backing" / "v.h5", "w") as file:
            file["data"] = VESSELS.raw()[..., 0]
        job = tbseg_run(mount / "v.h5", tmp_path / "run")
        said, _ = job.communicate(timeout=120)
        assert job.returncode == 0, said
    assert same(datasets(tmp_path / "run" / "segmentation.h5"), expected)
