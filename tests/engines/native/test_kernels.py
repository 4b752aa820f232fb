"""Where kernels are kept, how they are called, and those that are compiled ahead for images."""

import os
import platform
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tbseg_ops.engines.native import ahead, kernels
from tbseg_ops.engines.native.forest.bricks import _find_winners
from tbseg_ops.engines.native.jit import compiled, object_code
from tbseg_ops.engines.native.kernels import FLOATS, INT, INTS, Array, Kernel
from tbseg_ops.run import rows
from tbseg_ops.storage.sealed import get_sealed
from tests.runs import VESSELS

ROOT = Path(__file__).parents[3]

CODE = """
import sys
import numpy as np
from tbseg_ops.engines.native import kernels
from tbseg_ops.engines.native.forest.bricks import BrickForest
from tbseg_ops.classifier.forests import Forest
one, none = np.array([-1], np.int32), np.empty(0, np.int32)
leaf = np.array([[0, 1]], np.float32)
forest = Forest(1, one, none, np.empty(0, np.float32), none, none, leaf, np.zeros(1, np.int32))
assert BrickForest((forest,)).predict(np.zeros((1, 1, 64), np.float32))[0, 1].all()
print(*kernels.COMPILED, "numba" in sys.modules)
"""


def compiled_with(cache: object) -> str:
    """The kernels that a new process compiles, and whether it loads numba."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_kernels_are_kept_and_loaded_without_numba(tmp_path):
    assert compiled_with(tmp_path) == "of_pure True"
    assert compiled_with(tmp_path) == "False"
    (kept,) = tmp_path.rglob("of_pure.o*")
    assert kept.parents[2] == tmp_path


@pytest.mark.parametrize("harm", [lambda content: content[:-1], lambda content: b"", None])
def test_a_damaged_file_is_none(tmp_path, harm):
    path, code = tmp_path / "kernel.o", b"machine code"
    kernels.write(code, path)
    assert get_sealed(path) == code
    assert os.listdir(tmp_path) == [path.name]
    content = path.read_bytes()
    path.write_bytes(harm(content) if harm else content[:40] + b"?" + content[41:])
    assert get_sealed(path) is None


def test_a_damaged_file_is_compiled_anew(tmp_path):
    compiled_with(tmp_path)
    (kept,) = tmp_path.rglob("of_pure.o")
    before = kept.read_bytes()
    kept.write_bytes(before[:-1])
    assert compiled_with(tmp_path) == "of_pure True"
    assert kept.read_bytes() == before


def test_kernels_work_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert compiled_with(tmp_path / "file" / "no folder") == "of_pure True"


def of(module: str, *types: object, monkeypatch) -> Path:
    """Where a new kernel would be kept."""
    monkeypatch.setattr(kernels, "KERNELS", [])
    return Kernel(module, "name", *types).path(Path("folder")).parent


def test_the_folder_is_named_by_all_that_makes_the_code(monkeypatch):
    """The engine's sources, the kernel's own, its types, and who compiles it."""
    folder = partial(of, monkeypatch=monkeypatch)
    before = folder("run.rows", INT)
    assert before == folder("run.rows", INT)
    others = [folder("run.row_kernel", INT), folder("run.rows", INTS)]
    monkeypatch.setattr(kernels, "version", lambda package: "another")
    monkeypatch.setattr(kernels, "_sources", kernels._sources.__wrapped__)
    others.append(folder("run.rows", INT))
    monkeypatch.setattr(kernels, "_sources", lambda: b"others")
    others.append(folder("run.rows", INT))
    assert len({before, *others}) == 5


UPDATED = """
import sys
from pathlib import Path
import numpy as np
from tbseg_ops.errors import ResourceError
from tbseg_ops.run import rows
file = open(sys.argv[1], "rb")
into, starts = np.zeros((1, 4), np.uint8), np.zeros(1, np.int64)
source = Path(rows.__file__).with_name("row_kernel.py")
source.write_text(source.read_text().replace("_PAGE = 4096", "_PAGE = 8192"))
try:
    rows.read_rows(file.fileno(), starts, into)
except ResourceError as error:
    print(error)
"""


def test_a_package_that_is_updated_meanwhile_is_not_compiled(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(ROOT / "tbseg_ops", tmp_path / "site/tbseg_ops", ignore=ignored)
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "kernels")
    command = [sys.executable, "-c", UPDATED, str(VESSELS.classifier)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("tbseg was updated while it worked"), done.stderr
    assert not list(tmp_path.glob("kernels/**/*.o"))


def test_wrong_arguments_are_refused():
    file, starts, done = 0, np.zeros(1, np.int64), np.zeros(1, np.int64)
    into, piece = np.zeros((2, 1, 1), np.uint8)
    for wrong in (
        (file, starts.astype(np.int32), into, piece[0], done),
        (file, starts, into[0], piece[0], done),
        (file, starts, into, np.zeros(4, np.uint8)[::2], done),
        (file, np.zeros(1, ">i8"), into, piece[0], done),
    ):
        with pytest.raises(TypeError, match="is not an array"):
            rows._read(*wrong)
    with pytest.raises(ValueError, match="argument"):
        rows._read(file, starts, into, piece[0])


@compiled
def _allocates(n: int, out: np.ndarray) -> None:
    out[0] = np.empty(n).size


@compiled
def _of_all_types(numbers: tuple, floats: np.ndarray, out: np.ndarray) -> None:
    flat, (first, second) = numbers
    out[0] = first if flat else second
    out[1] = floats.shape[0] * 1000 + floats.shape[1]
    out[2] = floats[1, 2]


def test_a_kernel_that_needs_numba_at_work_is_no_kernel():
    with pytest.raises(ValueError, match=r"_allocates needs numba at work: .*NRT_"):
        object_code(_allocates, (INT, INTS))


def test_arguments_of_all_types(monkeypatch):
    monkeypatch.setattr(kernels, "KERNELS", [])
    types = ((kernels.BOOL, (INT, INT)), Array.of("float32", 2), INTS)
    kernel = Kernel("run.rows", "of_all_types", *types)
    code = object_code(_of_all_types, types)
    kernel._call = kernels._linked(code)
    floats = np.arange(6, dtype=np.float32).reshape(2, 3)
    for flat, expected in ((True, 7), (False, -8)):
        out = np.zeros(3, np.int64)
        kernel((flat, (7, -8)), floats, out)
        assert out.tolist() == [expected, 2003, 5]
    assert Array.of("float32") == FLOATS


LEVELS = {name: kernels.LEVELS[name] for name in ("x86-64-v4", "x86-64-v3")} | {None: ()}


@pytest.mark.parametrize("level", LEVELS)
def test_the_highest_level_that_the_processor_has(tmp_path, monkeypatch, level):
    found = {**dict.fromkeys(LEVELS[level], True), "sse2": True, "avx512er": False}
    monkeypatch.setattr(kernels.llvm, "get_host_cpu_features", lambda: found)
    assert kernels.highest_level.__wrapped__() == level


def test_kernels_that_came_along_are_the_last_choice(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "highest_level", lambda: "level")
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    monkeypatch.setattr(kernels, "SHIPPED", tmp_path)
    *own, last = _find_winners._places()
    assert last.is_relative_to(tmp_path / "level")
    assert own
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert list(_find_winners._places()) == own
    monkeypatch.delenv("NUMBA_CPU_NAME")
    monkeypatch.setattr(kernels, "SHIPPED", tmp_path / "none")
    assert list(_find_winners._places()) == own


def test_what_is_compiled_ahead_are_all_kernels():
    for name in ahead.MODULES:
        import_module(name)
    sources = (path.read_text() for path in (ROOT / "tbseg_ops").rglob("*.py"))
    made = sum(len(re.findall(r"= Kernel\(", text)) for text in sources)
    assert made == len(kernels.KERNELS) > 5


FIRST = """
import sys
sys.path.append(sys.argv[1])
from tests.engines.native.exactness import SMALL, compared
from tbseg_ops.engines.native import kernels
for reference in SMALL:
    assert compared(reference).equal
print(len(kernels.COMPILED), "numba" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are those of x86-64")
def test_an_image_brings_its_kernels(tmp_path):
    """Compiled beside a copy of the package; a new process on an empty disk compiles none."""
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(ROOT / "tbseg_ops", tmp_path / "site/tbseg_ops", ignore=ignored)
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "HOME": str(tmp_path)}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "empty")
    command = [sys.executable, "-m", "tbseg_ops.engines.native.ahead"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    shipped = package / "engines/native/shipped"
    highest = kernels.highest_level()
    levels = list(kernels.LEVELS)
    assert sorted(path.name for path in shipped.iterdir()) == sorted(levels)
    for level in levels[levels.index(highest) :] if highest else []:
        assert _first(tmp_path, environment) == "0 False", level
        shutil.rmtree(shipped / level)
        (shipped / level).symlink_to(levels[-1])  # then the same of the next one
    assert highest is None or not (tmp_path / "empty").exists()


def _first(folder, environment):
    command = [sys.executable, "-c", FIRST, str(ROOT)]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()
