"""The page of faults is written by what pytest reports of its tests."""

from collections import Counter

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
