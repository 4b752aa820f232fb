"""Files on which the HDF5 library crashes or hangs: another process meets that, not this one."""

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest

from tbseg_ops.errors import IntegrityError, ResourceError
from tbseg_ops.hdf5 import arms_length
from tbseg_ops.hdf5.image import image_of, opened

HEAP = b"GCOL"  # text of variable length lies there, without a checksum


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(arms_length, "_SECONDS", 1.0)


@pytest.fixture
def whole(tmp_path):
    def fill(file):
        file.create_dataset("volume", data=np.zeros((8, 8, 8), np.uint8), chunks=(4, 4, 4))
        file["volume"].attrs["axistags"] = "zyx"
        file.attrs.create("labels", ["one", "two"], dtype=h5py.string_dtype())

    path = tmp_path / "whole.h5"
    path.write_bytes(image_of(fill))
    return path


def endless(path):
    """The size of an object in the heap becomes 2^64 - 16: HDF5 2.0 walks it for ever."""
    data = bytearray(path.read_bytes())
    at = data.index(HEAP) + 16
    data[at + 8 : at + 16] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(data)


def test_a_whole_file_is_looked_at_once(whole, monkeypatch):
    asked = []
    ask = arms_length._Prober._ask
    monkeypatch.setattr(
        arms_length._Prober, "_ask", lambda self, *more: asked.append(more) or ask(self, *more)
    )
    for _ in range(3):
        with opened(whole) as file:
            assert file["volume"].shape == (8, 8, 8)
    assert len(asked) == 1
    os.utime(whole, ns=(1, 1))
    with opened(whole):
        assert len(asked) == 2


def test_an_endless_file_is_damaged_and_the_next_one_is_read(whole, tmp_path):
    bad = tmp_path / "bad.h5"
    bad.write_bytes(whole.read_bytes())
    endless(bad)
    start = time.monotonic()
    with pytest.raises(IntegrityError, match="does not get over it"), opened(bad):
        pass
    assert time.monotonic() - start < 30
    with opened(whole) as file:
        assert list(file.attrs["labels"]) == ["one", "two"]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE])
def test_a_crash_is_damage(number, whole, monkeypatch):
    program = whole.with_name("program.py")
    program.write_text(f"import os, sys\nsys.stdin.readline()\nos.kill(os.getpid(), {int(number)})")
    monkeypatch.setattr(arms_length, "_PROGRAM", program)
    monkeypatch.setattr(arms_length, "_prober", arms_length._Prober())
    with pytest.raises(IntegrityError, match=number.name), opened(whole):
        pass


def test_a_prober_that_somebody_ends_is_started_again(whole):
    assert arms_length.damage(whole) is None
    psutil.Process(arms_length._prober._process.pid).kill()
    os.utime(whole, ns=(1, 1))
    assert arms_length.damage(whole) is None


def test_a_prober_that_is_ended_again_and_again_says_nothing_of_the_file(whole, monkeypatch):
    program = whole.with_name("program.py")
    program.write_text("import os, sys\nsys.stdin.readline()\nos.kill(os.getpid(), 9)")
    monkeypatch.setattr(arms_length, "_PROGRAM", program)
    monkeypatch.setattr(arms_length, "_prober", arms_length._Prober())
    with pytest.raises(ResourceError, match="ended twice"), opened(whole):
        pass


def test_a_file_that_cannot_be_reached_is_not_called_damaged(tmp_path):
    with pytest.raises(IntegrityError, match="missing"), opened(tmp_path / "none.h5"):
        pass
    assert arms_length.damage(tmp_path / "none.h5") is None
    assert arms_length.damage(tmp_path) is None  # a folder: the system's error, told when opened


def test_it_ends_with_the_process_that_started_it(whole):
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom tbseg_ops.hdf5 import arms_length\n"
        f"arms_length.damage(Path({str(whole)!r}))\n"
        "print(arms_length._prober._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the prober outlives its parent")
