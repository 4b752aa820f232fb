"""Cases of a parametrized test of which a few are tried each time, and all with the slow tests."""

from collections.abc import Iterable
from typing import Any

import pytest


def some_slow(cases: Iterable[Any], quick: int) -> list[Any]:
    """For pytest.mark.parametrize; all but the first ``quick`` are slow. A tuple has a value for
    each argument."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if number < quick else pytest.mark.slow,
        )
        for number, case in enumerate(cases)
    ]
