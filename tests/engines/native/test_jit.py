"""Where compiled kernels are kept, and those that are compiled ahead for images."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tbseg_ops.engines.native import jit

ROOT = Path(__file__).parents[3]

CODE = """
import numpy as np
from tbseg_ops.engines.native import jit
from tbseg_ops.engines.native.forest.bricks import BrickForest
from tbseg_ops.classifier.forests import Forest
one, none = np.array([-1], np.int32), np.empty(0, np.int32)
leaf = np.array([[0, 1]], np.float32)
forest = Forest(1, one, none, np.empty(0, np.float32), none, none, leaf, np.zeros(1, np.int32))
assert BrickForest((forest,)).predict(np.zeros((1, 1, 64), np.float32))[0, 1].all()
print(jit._FOLDER)
"""


def folder_used(cache: object) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_folder_is_named_by_the_sources(tmp_path, monkeypatch):
    def folder():
        return jit._cache_folder(jit._name(), None)

    before = folder()
    assert before == folder()
    package = tmp_path / "classifier"
    package.mkdir()
    monkeypatch.setattr(jit, "__file__", str(package / "jit.py"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (package / "kernel.py").write_text("one")
    one = folder()
    (package / "kernel.py").write_text("two")
    two = folder()
    assert one.parent == two.parent == package / "__pycache__"
    assert len({before.name, one.name, two.name}) == 3


def test_kernels_are_kept(tmp_path):
    folder = folder_used(tmp_path)
    assert folder.startswith(f"{tmp_path}/tbseg-kernels-")
    assert list(tmp_path.rglob("*.nbc"))


def test_kernels_work_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert folder_used(tmp_path / "file" / "no folder") == "None"


FEATURES = {"x86-64-v4": jit.LEVELS["x86-64-v4"], "x86-64-v3": jit.LEVELS["x86-64-v3"], None: ()}


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Kernels that came along with an image, of these sources."""
    package = tmp_path / "package"
    made = package / jit.SHIPPED / "name" / "features"
    made.mkdir(parents=True)
    (made / "kernel.nbc").write_text("code")
    monkeypatch.setattr(jit, "__file__", str(package / "jit.py"))
    monkeypatch.setattr(jit.config, "CPU_NAME", None)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return made.parent


@pytest.mark.parametrize("level", FEATURES)
def test_the_highest_level_that_the_processor_has(shipped, monkeypatch, level):
    found = {**dict.fromkeys(FEATURES[level], True), "sse2": True, "avx512er": False}
    monkeypatch.setattr(jit, "get_host_cpu_features", lambda: found)
    assert jit._shipped("name") == (None if level is None else (shipped, level))
    assert jit._shipped("of other sources") is None
    monkeypatch.setattr(jit.config, "CPU_NAME", "generic")  # chosen by hand
    assert jit._shipped("name") is None


def test_a_new_folder_begins_as_a_copy(shipped, tmp_path):
    folder = jit._cache_folder("name", shipped)
    kept = folder / "features/kernel.nbc"
    assert kept.read_text() == "code"
    kept.write_text("by now")
    assert jit._cache_folder("name", shipped) == folder
    assert kept.read_text() == "by now"
    assert os.listdir(tmp_path / "cache") == ["name"]


def test_of_two_who_begin_at_once_the_first_stays(shipped, tmp_path):
    folder = tmp_path / "cache/name"
    (folder / "features").mkdir(parents=True)
    (folder / "features/kernel.nbc").write_text("first")
    jit._copy(shipped, folder)
    assert (folder / "features/kernel.nbc").read_text() == "first"
    assert os.listdir(tmp_path / "cache") == ["name"]


def test_a_folder_that_cannot_be_filled_is_not_used(shipped, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    assert jit._cache_folder("name", shipped) is None
    assert os.listdir(tmp_path / "cache") == []


COVERED = """
from tbseg_ops.engines.native.ahead import called_with, exercise
from tests.engines.native.exactness import SMALL, compared
from tests.engines.native.test_two_stages import untiled
asked = exercise()
assert any(asked.values())  # those that only kernels call come with them out of the cache
for reference in SMALL:
    assert compared(reference, threads=2).equal
untiled()
assert called_with() == asked
"""


def test_the_engine_calls_no_kernel_in_another_way_than_those_compiled_ahead():
    subprocess.run([sys.executable, "-c", COVERED], cwd=ROOT, check=True)


AGAIN = """
import sys
from tbseg_ops.engines.native import jit
from tests.engines.native.exactness import SMALL, compared
assert compared(SMALL[0]).equal
loaded = sum(sum(kernel.stats.cache_hits.values()) for kernel in jit.KERNELS)
missed = sum(sum(kernel.stats.cache_misses.values()) for kernel in jit.KERNELS)
print(loaded > 2, missed, "numba.cpython.setobj" in sys.modules)
"""


def test_kernels_that_are_kept_are_loaded_without_what_compiles_them():
    words = [sys.executable, "-c", AGAIN]
    for _ in range(2):  # the first one may have to compile
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["True", "0", "False"]


FIRST = """
import sys
from tbseg_ops.engines.native import jit
sys.path.append(sys.argv[1])
from tests.engines.native.exactness import SMALL, compared
assert compared(SMALL[0]).equal
print(sum(sum(kernel.stats.cache_misses.values()) for kernel in jit.KERNELS), jit.config.CPU_NAME)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are those of x86-64")
def test_an_image_brings_its_kernels(tmp_path):
    """Compiled beside a copy of the package; a new process on an empty disk compiles none."""
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(ROOT / "tbseg_ops", tmp_path / "site/tbseg_ops", ignore=ignored)
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "HOME": str(tmp_path)}
    ahead = [sys.executable, "-m", "tbseg_ops.engines.native.ahead"]
    subprocess.run(ahead, cwd=tmp_path, env=environment, check=True)
    (kernels,) = (package / "engines/native" / jit.SHIPPED).iterdir()
    highest = jit.highest_level()
    levels = list(jit.LEVELS)
    for level in levels[levels.index(highest) :] if highest else []:
        shutil.copytree(kernels, tmp_path / level / kernels.name)
        chosen = {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
        chosen["NUMBA_CACHE_DIR"] = str(tmp_path / level)
        assert _first(tmp_path, environment | chosen) == f"0 {level}"
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "empty")
    misses, level = _first(tmp_path, environment).split()
    assert highest is None or (misses, level) == ("0", highest)


def _first(folder, environment):
    command = [sys.executable, "-c", FIRST, str(ROOT)]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()
