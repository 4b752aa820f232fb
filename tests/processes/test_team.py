"""Teams: every piece once, errors at once."""

import os

import pytest

from tbseg_ops.errors import ResourceError
from tbseg_ops.run import Alone, Pool, team
from tests.workers import die, fail, slow_first


@pytest.mark.parametrize("workers", [Alone(), Pool(2)])
def test_every_piece_once(workers):
    assert sorted(piece for piece, _ in workers.map(slow_first, range(1, 8))) == list(range(1, 8))


def test_a_killed_worker_is_a_resource_error():
    with pytest.raises(ResourceError, match="worker process died"):
        list(Pool(2).map(die, range(8)))


@pytest.mark.parametrize("workers", [Alone(), Pool(2)])
def test_the_first_exception_ends_the_whole(workers):
    with pytest.raises(ValueError, match="piece 3"):
        list(workers.map(fail, range(1000)))


def test_the_team_follows_the_surroundings(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(team(1), Alone)
    assert team(3).workers == 3
    monkeypatch.setitem(os.environ, "PMI_SIZE", "1")
    assert isinstance(team(1), Alone)
