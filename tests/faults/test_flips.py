"""Harm to any file at any time is none or is mended by one command; more by tests.faults.flips."""

import pytest

from tbseg_ops.hdf5 import arms_length
from tests.faults.flips import Runs, Trying, flips, harms
from tests.tiny import quickly


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with quickly():
        yield Runs(tmp_path_factory.mktemp("flips"))


def wrong(runs, trials, monkeypatch, *, between):
    """Those that were not noticed, or not mended."""
    monkeypatch.setattr(arms_length, "_SECONDS", 2.0)
    trying = Trying(runs, 1, between=between)
    try:
        tried = [(trial, trying(trial)) for trial in trials]
    finally:
        trying.end()
    assert len({found.outcome for _, found in tried}) > 1
    return [one for one in tried if one[1].outcome not in ("harmless", "mended")]


def test_no_flip_is_unseen_and_none_wedges(runs, monkeypatch):
    assert wrong(runs, flips(runs, 1), monkeypatch, between=False) == []


def test_no_harm_between_two_steps_is_unseen_and_none_wedges(runs, monkeypatch):
    assert wrong(runs, list(harms(runs, 1))[::29], monkeypatch, between=True) == []


@pytest.mark.slow
def test_no_flip_of_many(runs, monkeypatch):
    assert wrong(runs, flips(runs, 16), monkeypatch, between=False) == []


@pytest.mark.slow
def test_no_harm_of_all_between_two_steps(runs, monkeypatch):
    assert wrong(runs, harms(runs, 1), monkeypatch, between=True) == []
