"""A clean run prints nothing that it should not; fifty of them by tests.faults.rounds.

One run with two workers is looked at in each run of the tests: ``test_secrets``.
"""

import pytest

from tests.faults.rounds import main, unexpected


@pytest.mark.slow
def test_five_rounds(capsys):
    assert main(5), capsys.readouterr().out


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ("split z000_y000_x001: computed in 0.02 s (2 of 8)\nEOFError: Ran out of input\n", 1),
        ("Process SpawnProcess-2:\nvolume   37 x 45 x 53 (z, y, x) uint8\n", 0),
        ("merge z000_y000_x000: copied (1 of 8) Traceback\n", 0),
    ],
)
def test_what_is_no_progress_is_seen(told, line):
    assert unexpected(told) == [told.splitlines()[line]]
