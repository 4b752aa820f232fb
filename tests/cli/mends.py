"""A refusal and its mend: what a user does who takes the message at its word.

A case is a generator. It yields the words of a command that must be refused and is sent the error;
it does what the mend says, and yields the next command. All but the last are refused, each for
another reason; the last one must succeed.
"""

import re
import shlex
from collections.abc import Generator
from typing import Any

from typer.testing import CliRunner

from tbseg_ops.cli.main import app
from tbseg_ops.errors import TbsegError

Case = Generator[tuple[object, ...], TbsegError, None]


def refusal(words: tuple[object, ...]) -> TbsegError | None:
    """The error with which a command ends, in this process; None if it succeeds."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    error = result.exception
    if isinstance(error, TbsegError):
        return error
    if error is not None and not (isinstance(error, SystemExit) and error.code == 0):
        raise error
    return None


def follow(case: Case) -> None:
    """Go through a case: see above."""
    words, refusals = next(case), list[str]()
    while (error := refusal(words)) is not None:
        assert error.mend, f"no mend: {error}"
        assert error.what not in refusals, f"the mend leads to the same refusal: {error}"
        refusals.append(error.what)
        words = _next(case, error)
    assert refusals, f"{words} was not refused at all"
    assert not list(case), "the case goes on, but all is well"


def command(error: TbsegError, name: str) -> list[str]:
    """The words of the command ``tbseg NAME`` in a mend, as a shell takes them."""
    _, found, rest = str(error.mend).partition(f"tbseg {name} ")
    assert found, f"no tbseg {name} in: {error}"
    words = [word.strip(",;:") for word in shlex.split(rest)]
    path = next(i for i, word in enumerate(words) if "/" in word)
    return [name, *words[: path + 1]]


def option(error: TbsegError, name: str) -> tuple[str, str]:
    """The option and its first value, as the mend or what is expected names it."""
    told = f"{error.mend} {error.expected}"
    found = re.search(rf"{name} ([\w,]+)", told)
    assert found, f"{name} is not in: {error}"
    return name, found[1]


def _next(case: Case, error: TbsegError) -> Any:
    try:
        return case.send(error)
    except StopIteration:
        raise AssertionError(f"the mend leads to another refusal: {error}") from error
