"""Programs within bounds; what ilastik sees of them is in classifier/test_ilastik.py."""

import sys
import time
from pathlib import Path

import pytest

from tbseg_ops.errors import ResourceError
from tbseg_ops.processes.bounded import NOT_STARTED, Outcome, run_bounded

DEFAULTS = {"environment": {"PATH": "/usr/bin:/bin"}, "seconds": 60.0, "memory_bytes": 4 << 30}


@pytest.fixture
def run(tmp_path):
    def run(*argv: str, **options) -> Outcome:
        return run_bounded(
            argv, folder=tmp_path, log=tmp_path / "log", **(DEFAULTS | {"grace": 0.5} | options)
        )

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
    with pytest.raises(ResourceError, match="could not be started"):
        run_bounded(["true"], folder=tmp_path / "missing", log=tmp_path / "log", **DEFAULTS)


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
