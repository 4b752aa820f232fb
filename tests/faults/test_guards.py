"""The list of guards is kept true; they are taken away by ``python -m tests.faults.guards``."""

import ast

import pytest

from tests.airflow_home import ROOT
from tests.faults.guards import GUARDS


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_is_there_once_and_what_is_left_is_a_program(guard):
    text = (ROOT / guard.file).read_text()
    assert text.count(guard.old) == 1
    ast.parse(text.replace(guard.old, guard.new))
    file, _, name = guard.test.partition("[")[0].partition("::")
    tests = {getattr(node, "name", None) for node in ast.parse(read(file)).body}
    assert name in tests


def read(file):
    return (ROOT / "tests" / file).read_text()
