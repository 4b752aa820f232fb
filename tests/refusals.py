"""Asking an error what it says, apart from the path: that holds the name of the test itself."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tbseg_ops.errors import InputError, TbsegError


def said(error: TbsegError) -> str:
    """What, expected and found, without the file."""
    return f"{error.what}\n{error.expected}\n{error.found}"


@contextmanager
def refused(pattern: str, file: str | None = None) -> Iterator[None]:
    """InputError whose words match ``pattern``, and whose file ends in ``file``."""
    with pytest.raises(InputError) as caught:
        yield
    assert re.search(pattern, said(caught.value)), said(caught.value)
    if file is not None:
        assert caught.value.file is not None
        assert re.search(re.escape(file) + r"( page \d+)?$", caught.value.file), caught.value.file
