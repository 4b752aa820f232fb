"""At most one run of a dataset at a time; a dead holder does not stand in the way."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from tbseg_ops.datasets import Runs, claim, claim_of, release, release_finished
from tbseg_ops.errors import ConfigError
from tbseg_ops.processes import identity as processes
from tbseg_ops.processes.identity import Process

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs", "brain")


def first():
    return "0001", ()


def slowly():
    """Time for the others to look at the same claim, if nothing held them off."""
    time.sleep(0.3)
    return first()


def compete(folder, barrier, results, stay):
    """One of several processes that want the claim at the same time."""
    barrier.wait(60)
    try:
        claim(Runs(folder, "brain"), slowly, holder=f"p {os.getpid()}", process=Process.this())
        results.put(os.getpid())
    except ConfigError as error:
        results.put(str(error))
    stay.wait(60)


@pytest.mark.parametrize("stale", [False, True], ids=["free", "held by a dead process"])
def test_of_racing_processes_exactly_one_wins(stale, runs):
    if stale:
        gone = Process.this().model_copy(update={"started": 1})
        claim(runs, first, holder="gone", process=gone)
    barrier, results, stay = SPAWN.Barrier(4), SPAWN.Queue(), SPAWN.Event()
    racers = [
        SPAWN.Process(target=compete, args=(runs.path, barrier, results, stay)) for _ in range(4)
    ]
    for racer in racers:
        racer.start()
    told = [results.get(timeout=60) for _ in racers]
    held = claim_of(runs)
    winners = [pid for pid in told if isinstance(pid, int)]
    assert len(winners) == 1
    assert held.holder == f"p {winners[0]}"
    assert all(held.holder in text for text in told if isinstance(text, str))
    assert not held.is_dead
    stay.set()
    for racer in racers:
        racer.join(30)
        assert racer.exitcode == 0
    assert claim_of(runs).is_dead  # it left without giving the claim up


def hold(folder, ready):
    claim(Runs(folder, "brain"), first, holder="victim", process=Process.this())
    ready.set()
    signal.pause()


def test_kill_9_of_the_holder_lets_the_next_one_in(runs):
    ready = SPAWN.Event()
    victim = SPAWN.Process(target=hold, args=(runs.path, ready))
    victim.start()
    assert ready.wait(60)
    with pytest.raises(ConfigError, match="dataset brain is going on") as caught:
        claim(runs, first, holder="next", process=Process.this())
    assert "victim" in str(caught.value)
    assert "tbseg dataset release brain" in caught.value.mend
    os.kill(victim.pid, signal.SIGKILL)
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)  # a zombie, which is as dead
    assert claim(runs, first, holder="next", process=Process.this()).holder == "next"
    victim.join(30)


def test_a_living_process_is_not_superseded_even_by_its_token(runs):
    held = claim(runs, first, holder="me", process=Process.this())
    with pytest.raises(ConfigError, match="going on"):
        claim(runs, first, holder="you", supersede=held.token)


def test_a_holder_that_is_no_process_is_superseded_by_its_token_only(runs):
    held = claim(runs, first, holder="airflow a/b")
    for token in (None, "0" * 32):
        with pytest.raises(ConfigError, match="airflow a/b"):
            claim(runs, first, holder="airflow a/c", supersede=token)
    new = claim(runs, lambda: ("0002", ("0001",)), holder="airflow a/c", supersede=held.token)
    assert (new.run, new.earlier) == ("0002", ("0001",))
    assert claim_of(runs) == new
    assert not release(runs, held.token)
    assert claim_of(runs) == new


def test_the_same_holder_has_its_claim_again(runs):
    """A retry of Airflow's task plan: the run is not chosen anew."""
    held = claim(runs, first, holder="airflow a/b")
    assert claim(runs, lambda: ("0009", ()), holder="airflow a/b") == held
    with pytest.raises(ConfigError, match="going on"):
        claim(runs, first, holder="airflow a/b", process=Process.this())
    assert release(runs, held.token)
    assert claim_of(runs) is None
    assert not release(runs, held.token)


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({}, False),
        ({"started": 1}, True),
        ({"pid": 2**22 + 1}, True),
        ({"boot": "earlier"}, True),
        ({"boot": "earlier", "machine": ""}, False),
        ({"host": "another", "started": 1}, False),
        ({"machine": "another", "started": 1}, False),
        ({"namespace": "pid:[1]", "started": 1}, False),
    ],
)
def test_only_what_is_known_to_be_dead_is_dead(change, dead, runs, monkeypatch):
    here = {**processes._here(), "machine": "" if change.get("machine") == "" else "m"}
    monkeypatch.setattr(processes, "_here", lambda: here)
    process = Process.this().model_copy(update=change)
    assert claim(runs, first, holder="it", process=process).is_dead is dead


def test_only_a_finished_run_of_its_own_releases_a_claim(runs):
    held = claim(runs, first, holder="airflow a/b")
    assert not release_finished(runs.path / "0002")
    assert not release_finished(runs.path)
    assert claim_of(runs) == held
    assert release_finished(runs.path / "0001")
    assert claim_of(runs) is None
    claim(runs, first, holder="it", process=Process.this())
    assert not release_finished(runs.path / "0001")  # that process will


@pytest.mark.parametrize("change", [{"run": "../x"}, {"run": "1"}, {"token": "/"}, {"more": 1}])
def test_a_damaged_claim_is_named(change, runs):
    claim(runs, first, holder="it")
    values = json.loads(runs.claim_file.read_bytes())
    runs.claim_file.write_text(json.dumps({**values, **change}))
    with pytest.raises(ConfigError, match="damaged") as caught:
        claim(runs, first, holder="it")
    assert caught.value.file == str(runs.claim_file)


def test_a_claim_that_is_a_link_is_not_followed(runs, tmp_path):
    runs.path.mkdir()
    runs.claim_file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not a file of tbseg"):
        claim(runs, first, holder="it")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("holder", ["", "a\nb", "a\0", "x" * 1001])
def test_hostile_holders_are_refused(holder, runs):
    with pytest.raises(ConfigError, match="no name for the holder"):
        claim(runs, first, holder=holder)
    assert not runs.path.exists()


def test_numbers(runs, tmp_path):
    assert (runs.numbers(), runs.newest(), runs.next().name) == ([], None, "0001")
    for name in ("0001", "0003", "10000", "3", "00004", "x0005"):
        (runs.path / name).mkdir(parents=True)
    (runs.path / "0002").symlink_to(tmp_path)
    assert runs.numbers() == [1, 3, 10000]
    assert runs.newest() == runs.path / "10000"
    (runs.path / "10001").symlink_to(tmp_path)  # never taken for a run, and never written through
    assert runs.newest() == runs.path / "10000"
    assert runs.next() == runs.path / "10002"


def test_runs_outside_of_the_roots(tmp_path, monkeypatch):
    monkeypatch.setenv("TBSEG_ROOTS", str(tmp_path / "in"))
    with pytest.raises(ConfigError, match="outside of the folders"):
        Runs(tmp_path / "runs", "brain")
