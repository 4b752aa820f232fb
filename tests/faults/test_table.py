"""The page of faults is written by what pytest reports of its tests."""

from collections import Counter

import pytest

from tests.faults.outcomes import RunError, outcomes
from tests.faults.table import held, is_well, main, rows

PAGE = """## A

| fault | what happens | tests | held |
| --- | --- | --- | --- |
| one | ends | `a.py::test_a`, `b.py::test_b` (slow) | not run |
| two | ends | `a.py::test_a` | 1 of 1 |

| | tried |
| --- | --- |
"""


def test_rows_and_what_came_of_them():
    one, two = rows(PAGE)
    assert (one.line, one.heading, one.tests) == (4, "## A", ["a.py::test_a", "b.py::test_b"])
    found = {"a.py::test_a": Counter(passed=3), "b.py::test_b": Counter(passed=1, skipped=2)}
    assert held(one, found) == "4 of 4, 2 skipped"
    assert is_well(one, found)
    assert held(two, found) == "3 of 3"
    found["b.py::test_b"]["failed"] = 1
    assert held(one, found) == "4 of 5, 2 skipped"
    assert not is_well(one, found)
    assert held(one, {}) == "not run"
    assert not is_well(one, {"a.py::test_a": Counter(passed=3)})
    assert two.with_held("3 of 3") == PAGE.splitlines()[5].replace("1 of 1", "3 of 3")


def test_only_rows_that_were_run_are_written(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    found = {"a.py::test_a": Counter(passed=2)}
    monkeypatch.setattr("tests.faults.table.outcomes", lambda *_, **__: found)
    assert main(["two"], page, write=True)
    assert page.read_text() == PAGE.replace("1 of 1", "2 of 2")
    assert not main(["one"], page, write=False)  # one of its tests did not come


def test_reports_are_read_by_name_whatever_is_behind_it(tmp_path):
    """Of one that skips, fails, has parameters, is in a group of xdist."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "__init__.py").touch()
    (tests / "test_a.py").write_text(
        "import pytest\n"
        "@pytest.mark.xdist_group('airflow')\n"
        "@pytest.mark.parametrize('n', [1, 2, 3])\n"
        "def test_one(n):\n"
        "    if n == 3: pytest.skip('n')\n"
        "    assert n < 2\n"
        "def test_two(): pass\n"
    )
    found = outcomes(["tests/test_a.py"], tmp_path, "-n", "1", "--dist", "loadgroup")
    assert found == {
        "test_a.py::test_one": Counter(passed=1, failed=1, skipped=1),
        "test_a.py::test_two": Counter(passed=1),
    }
    with pytest.raises(RunError):
        outcomes(["tests/test_b.py"], tmp_path)
