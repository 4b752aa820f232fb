"""Programs within bounds; what ilastik sees of them is in classifier/test_ilastik.py."""

import sys
import time
from pathlib import Path

import pytest

from tbseg_ops.errors import ResourceError
from tbseg_ops.processes.bounded import NOT_STARTED, Outcome, bounded

DEFAULTS = {"environment": {"PATH": "/usr/bin:/bin"}, "seconds": 60.0, "memory_bytes": 4 << 30}


@pytest.fixture
def run(tmp_path):
    def run(*argv: str, **options) -> Outcome:
        options = DEFAULTS | {"grace": 0.5} | options
        with bounded(argv, folder=tmp_path, log=tmp_path / "log", **options) as program:
            return program.wait()

    return run


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -15 $$", -15)]
)
def test_ends_as_the_program_ended(script, code, run):
    assert run("sh", "-c", script) == Outcome(code, timed_out=False)


def test_output_and_errors_go_to_the_log(run, tmp_path):
    run("sh", "-c", "echo one; echo two >&2; pwd", isolation="off")  # which may add a line
    assert (tmp_path / "log").read_text() == f"one\ntwo\n{tmp_path}\n"


def test_arguments_are_not_words_for_a_shell(run, tmp_path):
    argument = "$(touch x) `touch x`; touch x\n* \U0001f9e0"
    run("printf", "%s", argument, isolation="off")
    assert (tmp_path / "log").read_text() == argument
    assert not (tmp_path / "x").exists()


def test_environment(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "canary")
    run("env", environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, isolation="off")
    assert set((tmp_path / "log").read_text().split()) == {"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}


def test_program_that_is_not_there(run, tmp_path):
    assert run("no-such-program").code == NOT_STARTED
    assert "no-such-program: cannot be started" in (tmp_path / "log").read_text()


def test_no_folder_to_run_in(run, tmp_path):
    with (
        pytest.raises(ResourceError, match="could not be started"),
        bounded(["true"], folder=tmp_path / "missing", log=tmp_path / "log", **DEFAULTS),
    ):
        pass


def test_memory(run, tmp_path):
    script = "held = bytearray(2 << 30)"
    assert run(sys.executable, "-c", script).code == 0
    assert run(sys.executable, "-c", script, memory_bytes=1 << 30).code == 1
    assert "MemoryError" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_time(trap, run):
    start = time.monotonic()
    outcome = run("sh", "-c", f"{trap}sleep 50; sleep 50", seconds=0.5)
    assert outcome == Outcome(-9 if trap else -15, timed_out=True)
    assert time.monotonic() - start < 10


def test_what_the_program_left_running_is_ended(run, tmp_path):
    """Also a daemon, which is in another session and has another parent."""
    run("sh", "-c", "sleep 50 & echo $! > plain; setsid sh -c 'echo $$ > daemon; exec sleep 50' &"
        "until [ -s daemon ]; do sleep 0.01; done")  # fmt: skip
    for name in ("plain", "daemon"):
        assert not Path("/proc", (tmp_path / name).read_text().strip()).exists()


def test_a_look_does_not_end_it_and_leaving_does(tmp_path):
    script = "echo $$ > pid; sleep 50"
    with bounded(
        ["sh", "-c", script], folder=tmp_path, log=tmp_path / "log", **DEFAULTS
    ) as program:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert program.look(0.02) is None
        pid = (tmp_path / "pid").read_text().strip()
        assert Path("/proc", pid).exists()
    assert not Path("/proc", pid).exists()


def test_more_time_can_be_allowed(tmp_path):
    options = DEFAULTS | {"seconds": 0.5, "grace": 0.5}
    with bounded(
        ["sh", "-c", "sleep 1; exit 3"], folder=tmp_path, log=tmp_path / "log", **options
    ) as program:
        program.allow(30)
        assert program.look(0.6) is None
        assert program.look(30) == Outcome(3, timed_out=False)
    with bounded(["sleep", "50"], folder=tmp_path, log=tmp_path / "log", **options) as program:
        assert program.look(0.1) is None
        assert program.look(1) == Outcome(-15, timed_out=True)
