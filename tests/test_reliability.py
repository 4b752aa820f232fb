"""docs/reliability.md names tests: those that there are; and what came of each row."""

import ast
import re
from pathlib import Path

import pytest

from tests.faults.table import HELD, NOT_RUN, PAGE, TEST, rows

TESTS = Path(__file__).parent
TEXT = PAGE.read_text()
NAMED = sorted(set(TEST.findall(TEXT)))
SLOW = re.compile(r"pytest\.mark\.slow\b|\bsome_slow\(")


def functions(path):
    return {node.name: node for node in ast.parse(path.read_text()).body if hasattr(node, "name")}


def slowness(path, name):
    """`` (slow)`` if ``make test`` does not run it, `` (some slow)`` if not with all parameters."""
    marks = [ast.unparse(mark) for mark in functions(path)[name].decorator_list]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            marks.append(ast.unparse(node.value))
    slow = [mark for mark in marks if SLOW.search(mark)]
    if not slow:
        return ""
    return " (some slow)" if all("parametrize(" in mark for mark in slow) else " (slow)"


def test_the_page_names_many():
    assert len(NAMED) > 60
    assert TEXT.count("::test_") == len(TEST.findall(TEXT))


@pytest.mark.parametrize("test", NAMED)
def test_each_is_there_and_slow_if_it_says_so(test):
    file, _, name = test.partition("::")
    assert name in functions(TESTS / file)
    said = {more or "" for more in re.findall(rf"`{test}`( \((?:some )?slow\))?", TEXT)}
    assert said == {slowness(TESTS / file, name)}


@pytest.mark.parametrize("row", rows(TEXT), ids=lambda row: row.cells[0])
def test_each_row_says_what_came_of_it(row):
    assert len(row.cells) == 4
    assert HELD.fullmatch(row.held)
    if row.held != NOT_RUN:
        passed, run = re.findall(r"\d+", row.held)[:2]
        assert passed == run
