"""A command in a fork of the task's process does what the program does, and has nothing of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tbseg_ops import steps
from tests.runs import planned, stack

# As a process of Airflow is: answers signals itself, collects log lines, has streams of its own,
# which are forgotten in a cycle once something else takes their place.
PARENT = """
import io, json, logging, os, signal, sys, time
sys.path.insert(0, PLUGINS)
from tbseg_airflow.backends import fork
from tbseg_airflow.backends.local import LocalBackend
open("begun", "a").write(__name__ + "\\n")
signal.signal(signal.SIGTERM, lambda *_: open("answered", "a").close())
logging.root.addHandler(logging.FileHandler("collected", delay=True))
output = os.fdopen(os.dup(1), "w", buffering=1)
sys.stdout, sys.stderr = io.FileIO(1, "w"), io.FileIO(2, "w")
sys.stdout.itself, sys.stderr.itself = sys.stdout, sys.stderr
fork.load()
STIR
backend = LocalBackend()
job = backend.submit(json.loads(sys.argv[1]))
print(type(job.process).__name__, job.process.pid, file=output)
code = None
while code is None:
    lines, code = backend.check(job, 1.0)
    for line in lines:
        print(json.dumps([line.stream, line.text]), file=output)
    if any("http://" in line.text for line in lines):
        print("SERVING", file=output)
        WHILE_SERVING
print(json.dumps(code), file=output)
"""


def parent(folder, arguments, stir="", while_serving="time.sleep(60)"):
    """A parent that runs ``tbseg ARGUMENTS``; its output is a pipe."""
    text = PARENT.replace("PLUGINS", repr(os.environ["AIRFLOW_HOME"] + "/plugins"))
    text = text.replace("STIR", stir).replace("WHILE_SERVING", while_serving)
    (folder / "parent.py").write_text(text)
    return psutil.Popen(
        [sys.executable, "parent.py", json.dumps(["tbseg", *arguments])],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )


def through(process):
    """How it was started, what both streams said, and the exit code."""
    output, _ = process.communicate(timeout=60)
    begun, *lines, code = output.splitlines()
    said = [json.loads(line) for line in lines]
    streams = {name: [text for stream, text in said if stream == name] for name in ("out", "err")}
    return begun.split()[0], streams, json.loads(code)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["inspect", "no such.ilp", "--json"],
        ["inspect", "no \udcff.ilp"],
        ["plan", "--tile=many"],
        ["no-command"],
    ],
    ids=["works", "input is missing", "name is no text", "wrong usage", "no command"],
)
def test_it_says_and_ends_as_the_program_does(arguments, tmp_path):
    program = subprocess.run(
        [Path(sys.executable).parent / "tbseg", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    started, streams, code = through(parent(tmp_path, arguments))
    assert started == "Fork"
    assert code == program.returncode
    assert streams == {"out": program.stdout.splitlines(), "err": program.stderr.splitlines()}
    assert not (tmp_path / "collected").exists()


def test_its_workers_are_those_of_tbseg(tmp_path):
    """They import the main module of the process that starts them."""
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices"))
    steps.ingest(run=run)
    steps.split(run=run)
    command = ["classify", f"--run={run}", "--workers=2", "--json"]
    _, streams, code = through(parent(tmp_path, command))
    assert code == 0, streams
    assert json.loads(streams["out"][-1])["computed"] > 1
    assert (tmp_path / "begun").read_text() == "__main__\n"


# In place of the command line. The traceback keeps the pool as it is.
LEAVES_A_POOL = """
import time
from tbseg_ops.processes.team import Pool
def main():
    parts = Pool(2).map(abs, range(50))
    next(parts)
    time.sleep(2)  # both workers have begun, and wait
    raise ValueError("left")
"""
TELLS = """
import logging, os, stat, warnings
def main():
    numbers = [int(n) for n in os.listdir("/proc/self/fd")]
    numbers = [n for n in numbers if os.path.lexists(f"/proc/self/fd/{n}")]
    print(sum(stat.S_ISSOCK(os.fstat(n).st_mode) for n in numbers))
    print(logging.root.level, logging.root.handlers, os.environ["PYTHONUNBUFFERED"])
    warnings.warn("a warning")
"""
INSTEAD = "import command; import tbseg_ops.cli.main as main; main.main = command.main"


def test_it_ends_though_a_pool_was_left_open(tmp_path):
    (tmp_path / "command.py").write_text(LEAVES_A_POOL)
    _, streams, code = through(parent(tmp_path, [], INSTEAD))
    assert code == 1
    assert streams["err"][-1] == "ValueError: left"


def test_nothing_of_airflows_reaches_it(tmp_path):
    (tmp_path / "command.py").write_text(TELLS)
    stir = (
        f"{INSTEAD}; import socket; pair = socket.socketpair(); pair[0].set_inheritable(True);"
        " logging.root.setLevel(50); logging.disable(50); import warnings;"
        " warnings.showwarning = lambda *words: os.write(pair[0].fileno(), b'caught')"
    )
    _, streams, code = through(parent(tmp_path, [], stir))
    assert code == 0, streams
    assert streams["out"] == ["0", "30 [] 1"]
    assert "UserWarning: a warning" in streams["err"][0]


def test_after_an_update_the_program_is_started(tmp_path):
    stir = "fork._loaded.pop(); import gc; gc.collect()"
    started, streams, code = through(parent(tmp_path, ["--version"], stir))
    assert (started, code) == ("Popen", 0)
    assert streams["out"][0].startswith("tbseg ")


@pytest.fixture
def run(tmp_path):
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    return tmp_path / "run"


def serving(process):
    """The command, once it serves."""
    number = int(process.stdout.readline().split()[1])
    line = ""
    while line != "SERVING\n":
        line = process.stdout.readline()
        assert line
    return psutil.Process(number)


def test_it_is_ended_by_a_signal_that_its_parent_would_answer(run, tmp_path):
    command = ["view", "--no-browser", str(run)]
    with parent(tmp_path, command, while_serving="backend.cancel(job, 5.0)") as process:
        serving(process)
        assert json.loads(process.stdout.readlines()[-1]) == 128 + 15
        assert process.wait(timeout=10) == 0
    assert not (tmp_path / "answered").exists()


def test_it_ends_with_its_parent(run, tmp_path):
    with parent(tmp_path, ["view", "--no-browser", str(run)]) as process:
        command = serving(process)
        assert os.getsid(command.pid) == command.pid
        assert command.cmdline()[0].startswith("tbseg view")
        process.kill()
        command.wait(timeout=10)
