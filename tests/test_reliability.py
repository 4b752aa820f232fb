"""docs/reliability.md names tests: those that there are."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs/reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`([a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", PAGE)))


def functions(path):
    return {node.name: node for node in ast.parse(path.read_text()).body if hasattr(node, "name")}


def is_slow(path, name):
    marks = [ast.unparse(mark) for mark in functions(path)[name].decorator_list]
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            marks.append(ast.unparse(node.value))
    return any(re.search(r"pytest\.mark\.slow\b", mark) and "param(" not in mark for mark in marks)


def test_the_page_names_many():
    assert len(NAMED) > 60
    assert PAGE.count("::test_") == len(re.findall(r"`[a-z0-9_/]+\.py::test_[a-z0-9_]+`", PAGE))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_is_there_and_slow_if_it_says_so(file, name):
    assert name in functions(TESTS / file)
    assert is_slow(TESTS / file, name) == (f"`{file}::{name}` (slow)" in PAGE)
