"""Jobs: one for each person, a few at once, within bounds, and gone with who asked for them."""

import json
import os
import sys
import time

import psutil
import pytest

from tbseg_ops.errors import ResourceError
from tbseg_ops.look import desk as module
from tbseg_ops.look.desk import Desk
from tests.runs import VESSELS

LONG = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def long(monkeypatch):
    monkeypatch.setattr(module, "_CHILD", LONG)


def last(job):
    *_, line = job.lines()
    return json.loads(line)


def working(job):
    """The lines of a job that has begun."""
    lines = job.lines()
    assert any("working" in json.loads(line) for line in lines)
    return lines


def children():
    return psutil.Process().children(recursive=True)


def gone(before):
    end = time.monotonic() + 20
    while len(children()) > len(before):
        assert time.monotonic() < end
        time.sleep(0.05)
    return True


def test_who_goes_away_takes_the_process_along(long):
    before = children()
    lines = working(Desk().ask("ann", {}))
    assert len(children()) > len(before)
    lines.close()
    assert gone(before)


def test_a_person_has_one_job_and_the_new_one_counts(long):
    desk, before = Desk(), children()
    old = desk.ask("ann", {})
    working(old)
    new = desk.ask("ann", {})
    assert "something else was asked for" in last(old)["error"]["what"]
    lines = working(new)
    lines.close()
    assert gone(before)


def test_others_wait_for_their_turn_and_not_without_end(long):
    desk = Desk(at_once=1, waiting=2)
    lines = working(desk.ask("a", {}))
    waiting = [desk.ask(who, {}).lines() for who in "bc"]
    assert [json.loads(next(told)) for told in waiting] == [{"waiting": 1}, {"waiting": 2}]
    with pytest.raises(ResourceError, match="too many people"):
        desk.ask("d", {})
    again = desk.ask("c", {})  # who asks anew is not one more
    lines.close()
    waiting[0].close()
    working(again).close()


def test_time_is_bounded(long, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.3)
    assert "takes longer than" in last(Desk().ask("ann", {}))["error"]["what"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("bytearray(1 << 40)", "more memory than looking may take"),
        ("import os; os.kill(os.getpid(), 11)", "did not get over it"),
    ],
)
def test_a_process_that_dies_is_a_sentence(code, told, monkeypatch):
    monkeypatch.setattr(module, "_CHILD", (sys.executable, "-c", code))
    assert told in last(Desk().ask("ann", {}))["error"]["what"]


def test_the_process_sees_no_secret_and_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("TBSEG_ROOTS", "/data")
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    code = "import json, os; open('answer.json', 'w').write(json.dumps(dict(os.environ)))"
    monkeypatch.setattr(module, "_CHILD", (sys.executable, "-c", code))
    seen = last(Desk().ask("ann", {}))
    assert seen["TBSEG_ROOTS"] == "/data"
    assert not [name for name in seen if name.startswith("AIRFLOW")]
    assert os.listdir(tmp_path) == []


def test_a_look_and_a_box(monkeypatch):
    subject = {"volume": f"{VESSELS.volume}:/data", "classifier": str(VESSELS.classifier)}
    assert last(Desk().ask("ann", {"subject": subject}))["answer"]["preview"]
    gone_volume = {"subject": {"volume": "/nowhere"}, "box": {"lo": [0, 0, 0], "hi": [1, 1, 1]}}
    assert last(Desk().ask("ann", gone_volume))["error"]["what"] == "there is no classifier"
