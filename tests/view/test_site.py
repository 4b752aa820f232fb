"""Many who look at one run: what is found out once is told to all, and of which revision it is."""

import threading
import time

import pytest

from tbseg_ops.run import RunFolder
from tbseg_ops.view import site as module
from tbseg_ops.view.site import Site, as_json


@pytest.fixture
def site(finished, monkeypatch):
    """A site that takes ``site.seconds`` for each answer, and counts them in ``site.found``."""
    site = Site(RunFolder(finished / "run"))
    site.seconds, site.found = 0.0, 0
    monkeypatch.setattr(type(site.view), "revision", "one")

    def found(what, query, other):
        site.found += 1
        time.sleep(site.seconds)
        return as_json(site.found)

    monkeypatch.setattr(site, "_api", found)
    return site


def asked(site, **query):
    answer = site.get("api/layer", query)
    return int(answer.body), answer.headers["X-Revision"]


def test_those_who_ask_at_the_same_moment_get_one_answer(site):
    site.seconds, answers = 0.2, []
    askers = [threading.Thread(target=lambda: answers.append(asked(site))) for _ in range(5)]
    for asker in askers:
        asker.start()
    assert asked(site, number="1")[0] in (1, 2)  # another question waits for nobody
    for asker in askers:
        asker.join()
    assert len(set(answers)) == 1
    assert site.found == 2


def test_an_answer_of_an_older_revision_says_so_and_is_given_for_a_share_of_its_cost(
    site, monkeypatch
):
    clock = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    site.seconds = 0.01
    assert asked(site) == (1, "one")
    monkeypatch.setattr(type(site.view), "revision", "two")
    assert asked(site) == (1, "one"), "the page sees that it has to ask again"
    clock[0] += module._SHARE * site.seconds + 0.001
    assert asked(site) == (2, "two")
    clock[0] += module._OLDEST - 0.1
    assert asked(site) == (2, "two")
    clock[0] += 0.2
    assert asked(site) == (3, "two"), "a file can be lost without a commit"


def test_a_refusal_is_not_kept(site, monkeypatch):
    monkeypatch.setattr(site, "_api", lambda *asked: None)
    assert site.get("api/layer", {}).status == 404
    monkeypatch.undo()
    assert site.get("api/layer", {}).status == 200
