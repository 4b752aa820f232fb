"""Rows out of a file: right, whatever lies between them, and without much of it."""

from pathlib import Path

import numpy as np
import pytest

from tbseg_ops.run.rows import read_rows

DATA = np.random.default_rng(1).integers(0, 256, 4_000_000, dtype=np.uint8)
PAGE = 4096


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "data"
    path.write_bytes(DATA.tobytes())
    return path


@pytest.mark.parametrize(
    ("stride", "length", "rows"),
    [
        (2048, 640, 300),  # a tile of a narrow volume
        (2048, 2048, 500),  # whole rows
        (12_000, 640, 300),  # a tile of a wide volume
        (10, 3, 1000),
        (1_500_000, 1_200_000, 2),  # longer than what is read in one piece
        (1, 1, 1),
    ],
)
def test_rows(path: Path, stride: int, length: int, rows: int) -> None:
    starts = np.arange(rows, dtype=np.int64) * stride + 7
    into = np.empty((rows, length), np.uint8)
    with path.open("rb") as file:
        assert read_rows(file.fileno(), starts, into)
    assert np.array_equal(into, DATA[starts[:, None] + np.arange(length)])


def test_rows_at_any_distance(path: Path) -> None:
    starts = np.sort(np.random.default_rng(2).choice(DATA.size // 64, 2000, replace=False)) * 64
    into = np.empty((starts.size, 64), np.uint8)
    with path.open("rb") as file:
        assert read_rows(file.fileno(), starts, into)
    assert np.array_equal(into, DATA[starts[:, None] + np.arange(64)])


@pytest.mark.parametrize("gap", [10, 100_000])
def test_a_file_that_ends_before_is_told(path: Path, gap: int) -> None:
    starts = np.array([DATA.size - 74 - gap, DATA.size - 10])
    with path.open("rb") as file:
        assert not read_rows(file.fileno(), starts, np.empty((2, 64), np.uint8))


@pytest.mark.parametrize(("stride", "most"), [(2048, 2048), (2 * PAGE, 640), (12_000, 640)])
def test_no_more_than_twice_the_pages(path: Path, stride: int, most: int) -> None:
    """Bytes of the system calls, by the kernel's count: ``most`` a row."""
    starts = np.arange(300, dtype=np.int64) * stride
    into = np.empty((300, 640), np.uint8)
    with path.open("rb") as file:
        read_rows(file.fileno(), starts, into)  # compiled
        before = _read()
        read_rows(file.fileno(), starts, into)
        assert _read() - before <= 300 * most + 1000  # and the count itself


def _read() -> int:
    text = Path("/proc/thread-self/io").read_text()
    return int(text.split("rchar: ")[1].split()[0])
