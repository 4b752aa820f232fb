"""Where compiled kernels are kept."""

import os
import subprocess
import sys

from tbseg_ops.engines.native import jit

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
    before = jit._cache_folder()
    assert before == jit._cache_folder()
    package = tmp_path / "classifier"
    package.mkdir()
    monkeypatch.setattr(jit, "__file__", str(package / "jit.py"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (package / "kernel.py").write_text("one")
    one = jit._cache_folder()
    (package / "kernel.py").write_text("two")
    two = jit._cache_folder()
    assert one.parent == two.parent == package / "__pycache__"
    assert len({before.name, one.name, two.name}) == 3


def test_kernels_are_kept(tmp_path):
    folder = folder_used(tmp_path)
    assert folder.startswith(f"{tmp_path}/tbseg-kernels-")
    assert list(tmp_path.rglob("*.nbc"))


def test_kernels_work_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert folder_used(tmp_path / "file" / "no folder") == "None"
