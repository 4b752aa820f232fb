"""An error keeps its shape on its way out of a process: as text, as an object, as an exit code."""

import json

import pytest

from tbseg_ops.errors import (
    CalledOffError,
    ConfigError,
    InputError,
    IntegrityError,
    ResourceError,
    TbsegError,
    UsageError,
    class_of,
)
from tests.runs import tbseg

RETRIED = {
    TbsegError: False,
    UsageError: False,
    InputError: False,
    ConfigError: False,
    ResourceError: True,
    IntegrityError: True,
    CalledOffError: False,
}


def test_each_class_says_whether_it_is_retried_and_is_known_by_its_exit_code():
    assert {kind: kind.retried for kind in (TbsegError, *TbsegError.__subclasses__())} == RETRIED
    assert [class_of(kind.exit_code) for kind in RETRIED] == list(RETRIED)
    assert [class_of(code) for code in (0, 1, 126, 127, 137, 143)] == [None] * 6


def test_the_object_is_one_line_without_what_is_not_known():
    error = ResourceError("no\nroom", file="/a\udc80", found=3)
    line = error.to_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "error": {
            "class": "ResourceError",
            "what": "no\nroom",
            "file": "/a\udc80",
            "found": "3",
            "retried": True,
        }
    }


def failed(*arguments, code):
    """Standard error of a command that fails, and its object if it gave one."""
    done = tbseg(*arguments)
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    return done.stderr, json.loads(lines[-1])["error"] if lines else None


def test_with_json_the_last_line_is_the_error(tmp_path):
    arguments = ("status", tmp_path)
    text, found = failed(*arguments, "--json", code=78)
    assert found is not None
    assert text.startswith(f"error: {found['what']}\n  file: {found['file']}\n  expected: ")
    assert (found["class"], found["retried"]) == ("ConfigError", False)
    assert failed(*arguments, code=78) == (text, None)  # the same text, and no object


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("plan", "--tile=a,b,c", "x", "y", "z"), "Z,Y,X"),
        (("classify", "--run=x", "--surprise"), "No such option: --surprise"),
        (("classify",), "Missing option"),
    ],
)
def test_wrong_usage_is_an_object_too(arguments, what):
    text, found = failed(*arguments, "--json", code=2)
    assert found is not None
    assert what in found["what"]
    assert (found["class"], found["retried"]) == ("UsageError", False)
    assert text.startswith("Usage: ")
    assert failed(*arguments, code=2)[1] is None


def test_a_name_that_looks_like_the_option_is_none():
    """What comes after -- is no option."""
    assert failed("plan", "--", "/no/volume", "/no/c.ilp", "--json", code=65)[1] is None
