"""Jobs that outlive their connection: started once, slots kept, ended with all they started."""

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.hosts.agent import serve
from tbseg_ops.hosts.store import Job, JobStore, clock


@pytest.fixture
def store(tmp_path):
    made = JobStore(tmp_path / "jobs" / "host")
    (tmp_path / "jobs").mkdir(mode=0o700)
    yield made
    for name in made.names():
        made.cancel(name, 20)


def python(text, lease=60.0, **environment):
    return job_of(sys.executable, "-c", text, environment=environment, lease=lease)


def job_of(*arguments, lease=60.0, **more):
    return Job(token=secrets.token_hex(4), arguments=arguments, lease=lease, **more)


def until_end(store, name, seconds=20):
    """All lines of both streams, and how it ended."""
    out, err, out_at, err_at = [], [], 0, 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        new = store.output(name, out_at, err_at)
        out_at, err_at = new.out_at, new.err_at
        out += new.out
        err += new.err
        if new.exit is not None:
            return out, err, new.exit
        time.sleep(0.05)
    raise AssertionError((out, err))


def wait_for(path, seconds=20):
    deadline = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.parametrize("code", [0, 65, 75])
def test_output_and_exit_code_come_home(store, code):
    text = f"import sys; print('one'); print('zwei ü', file=sys.stderr); sys.exit({code})"
    assert store.start("a", python(text), 1) == "started"
    out, err, ended = until_end(store, "a")
    assert (out, err, ended.code) == (["one"], ["zwei ü"], code)


def test_arguments_reach_the_program_as_they_are(store):
    odd = ["$(id)", "a b", "'", '"', "*", "~", "--x=;ls", "ü", ""]
    show = "import sys, json; print(json.dumps(sys.argv[1:]))"
    job = job_of(sys.executable, "-c", show, *odd)
    store.start("a", job, 1)
    assert json.loads(until_end(store, "a")[0][0]) == odd


def test_much_output_comes_in_parts_and_whole_lines(store):
    store.start("a", python("for i in range(40000): print('line', i)"), 1)
    out, _, ended = until_end(store, "a", 60)
    assert out == [f"line {i}" for i in range(40000)]
    assert ended.code == 0


def test_a_running_job_is_not_started_again(store, tmp_path):
    mark = tmp_path / "mark"
    job = python(f"import time; open({str(mark)!r}, 'a').write('x'); time.sleep(60)")
    assert store.start("a", job, 4) == "started"
    wait_for(mark)
    assert store.start("a", job, 4) == "known"
    other = job.model_copy(update={"token": "other"})
    assert store.start("a", other, 4) == "ending"
    deadline = time.monotonic() + 20
    while (state := store.start("a", other, 4)) == "ending":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert state == "started"
    deadline = time.monotonic() + 20
    while mark.read_text() != "xx":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_slots(store):
    sleep = python("import time; time.sleep(60)")
    assert [store.start(name, sleep, 2) for name in "abc"] == ["started", "started", "full"]
    assert store.cancel("a", 20)
    assert store.start("c", sleep, 2) == "started"


def test_two_agents_at_once_start_a_job_once(tmp_path):
    (tmp_path / "jobs").mkdir(mode=0o700)
    store = JobStore(tmp_path / "jobs" / "host")
    text = (
        "import sys; from pathlib import Path; from tbseg_ops.hosts.store import Job, JobStore\n"
        f"store = JobStore(Path({str(store.folder)!r}))\n"
        "job = Job(token='t', arguments=('sleep', '60'), lease=60)\n"
        "print(store.start('a', job, 9))"
    )
    both = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) for _ in "ab"]
    said = sorted(process.communicate(timeout=60)[0].decode().strip() for process in both)
    assert store.cancel("a", 20)
    assert said == ["known", "started"]


STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"],
                         start_new_session=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] if len(sys.argv) > 1 else os.environ["MARK"], "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
time.sleep(99)
"""


def test_cancel_ends_all_that_the_job_started(store, tmp_path):
    mark = tmp_path / "mark"
    store.start("a", python(STUBBORN, MARK=str(mark)), 1)
    pids = [int(pid) for pid in wait_for(mark).split()]
    assert store.cancel("a", 30)
    assert not any(map(psutil.pid_exists, pids))
    ended = store.output("a", 0, 0).exit
    assert (ended.code, ended.reason) == (-signal.SIGKILL, "it was called off")


def test_a_job_that_nobody_asks_for_ends(store, tmp_path):
    mark = tmp_path / "mark"
    store.start("a", python(f"{STUBBORN}", lease=2.0, MARK=str(mark)), 1)
    pids = [int(pid) for pid in wait_for(mark).split()]
    for _ in range(10):  # asked for: it lives on
        store.output("a", 0, 0)
        time.sleep(0.3)
    assert store.runs("a")
    deadline = time.monotonic() + 30
    while store.runs("a"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))
    assert "nobody asked" in store.output("a", 0, 0).exit.reason


def test_a_job_that_takes_too_long_is_ended(store):
    text = "import time; time.sleep(60)"
    job = job_of(sys.executable, "-c", text, seconds=1)
    store.start("a", job, 1)
    _, _, ended = until_end(store, "a")
    assert (ended.code, ended.reason) == (-signal.SIGTERM, "it took too long: 1 s")


def test_a_killed_keeper_takes_its_job_with_it(store, tmp_path):
    mark = tmp_path / "mark"
    text = "import os, time; open(os.environ['MARK'], 'w').write(str(os.getpid())); time.sleep(99)"
    store.start("a", python(text, MARK=str(mark)), 1)
    pid = int(wait_for(mark))
    keeper = psutil.Process(pid).ppid()
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = store.output("a", 0, 0).exit
    assert (ended.code, ended.reason) == (75, "its keeper was killed")


def test_what_a_killed_keeper_leaves_is_ended_before_anything_else_runs(store, tmp_path):
    mark = tmp_path / "mark"
    text = "import os, time; open(os.environ['MARK'], 'w').write(str(os.getpid())); time.sleep(99)"
    script = f'"{sys.executable}" -c "{text}"; true'
    store.start("a", job_of("sh", "-c", script, environment={"MARK": str(mark)}), 1)
    pid = int(wait_for(mark))
    keeper = psutil.Process(psutil.Process(pid).ppid()).ppid()
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while store.runs("a"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert store.output("a", 0, 0).exit.reason == "its keeper was killed"
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_character_that_a_database_cannot_hold(store):
    store.start("a", python(r"print('a\0b')"), 1)
    assert until_end(store, "a")[0] == ["a\N{REPLACEMENT CHARACTER}b"]


def test_a_program_that_is_missing_is_a_matter_of_configuration(store):
    store.start("a", job_of("no-such-program"), 1)
    _, err, ended = until_end(store, "a")
    assert ended.code == 78
    assert "no-such-program" in err[0]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", ".lock", "x" * 200])
def test_names_stay_inside_of_the_store(name, store):
    with pytest.raises(InputError):
        store.start(name, python("pass"), 1)


def test_a_folder_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "jobs").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match="somebody else"):
        JobStore(tmp_path / "jobs" / "host").names()


def test_the_agent_answers_each_question_and_survives_wrong_ones(store):
    start = {"ask": "start", "arguments": ["true"], "lease": 60, "slots": 1, "token": "t"}
    start["until"] = clock() + 60
    questions = [
        {"ask": "hello"},
        {**start, "name": "a"},
        {**start, "name": "b", "until": clock() - 1},
        {"ask": "output", "name": "a", "token": "other", "out_at": 0, "err_at": 0},
        {**start, "name": "../a"},
        {**start, "name": "b", "arguments": []},
        {"ask": "surprise"},
        {"ask": "output"},
    ]
    lines = [json.dumps({**q, "number": i}) + "\n" for i, q in enumerate(questions)]
    answers = io.StringIO()
    serve(io.StringIO("".join(lines)), answers, store)
    found = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [answer["number"] for answer in found] == list(range(len(questions)))
    assert found[0]["cores"] >= 1
    assert found[1]["state"] == "started"
    assert found[2]["state"] == "late"
    assert found[3]["gone"] is True
    assert [answer.get("code") for answer in found[4:]] == [65] * 4
