"""File systems that are mounted for a test."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tbseg_ops.storage.visibility import mounted as mounted_at
from tests.airflow_home import ROOT

NEEDED = [
    pytest.mark.skipif(not os.access("/dev/fuse", os.W_OK), reason="needs /dev/fuse"),
    pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs Debian's fuse3"),
]


@contextmanager
def mounted(backing: Path, mount: Path, behaviour: dict[str, Any]) -> Iterator[Path]:
    """The folder ``backing``, under a mount that behaves so (see ``passthrough``)."""
    backing.mkdir(parents=True, exist_ok=True)
    mount.mkdir(parents=True)
    program = [sys.executable, "-m", "tests.filesystems.passthrough"]
    server = subprocess.Popen([*program, str(backing), str(mount), json.dumps(behaviour)], cwd=ROOT)
    try:
        end = time.monotonic() + 20
        while not os.path.ismount(mount):
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mount], check=False)
        server.wait(20)


@contextmanager
def memory_disk(mount: Path, options: str) -> Iterator[Path]:
    """A disk of its own at ``mount``, a tmpfs with such options (``size=16m``).

    The test is skipped where this user may mount none.
    """
    mount.mkdir(parents=True)
    if not _mount("-t", "tmpfs", "-o", options, "none", mount):
        pytest.skip("needs the right to mount (root)")
    mounted_at.cache_clear()  # what kind of file system it is may be known from before
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
        mounted_at.cache_clear()


@contextmanager
def read_only(mount: Path) -> Iterator[None]:
    """Nothing can be written to it."""
    assert _mount("-o", "remount,ro", mount)
    try:
        yield
    finally:
        assert _mount("-o", "remount,rw", mount)


def _mount(*words: object) -> bool:
    return (
        subprocess.run(["mount", *map(str, words)], capture_output=True, check=False).returncode
        == 0
    )
