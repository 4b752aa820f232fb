"""A flipped bit anywhere does no harm or is mended by one command; more by tests.faults.flips."""

import shutil

import pytest

from tests.faults.flips import KINDS, flipped, made, places


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and a copy of it."""
    folder = tmp_path_factory.mktemp("flips")
    made(folder)
    shutil.copytree(folder / "run", folder / "whole")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_flip_is_unseen_and_none_wedges(kind, run):
    for place in places(kind, 4):
        assert flipped(run / "run", run / "whole", kind, *place) in ("harmless", "mended"), place
