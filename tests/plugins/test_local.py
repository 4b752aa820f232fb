"""The local backend: output as it comes, exit codes, and the end of a whole process tree."""

import json
import os
import sys
import time

import psutil
import pytest


@pytest.fixture
def backend():
    from tbseg_airflow.backends.local import LocalBackend

    return LocalBackend()


def script(tmp_path, text):
    path = tmp_path / "job.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def to_end(backend, job, seconds=20.0):
    lines, code, end = [], None, time.monotonic() + seconds
    while code is None:
        assert time.monotonic() < end, lines
        new, code = backend.check(job, 1.0)
        lines += new
    return lines, code


def test_output_and_exit_code(backend, tmp_path):
    job = backend.submit(
        script(
            tmp_path,
            "import sys\nprint('one')\nprint('two', file=sys.stderr)\n"
            "sys.stdout.buffer.write(b'\\xff broken\\r\\nlast, without a break')\nsys.exit(65)",
        )
    )
    lines, code = to_end(backend, job)
    assert code == 65
    assert [line.text for line in lines if line.stream == "err"] == ["two"]
    out = [line.text for line in lines if line.stream == "out"]
    assert out == ["one", "\N{REPLACEMENT CHARACTER} broken", "last, without a break"]


def test_a_signal_is_a_negative_code(backend, tmp_path):
    job = backend.submit(script(tmp_path, "import os\nos.kill(os.getpid(), 9)"))
    assert to_end(backend, job) == ([], -9)


def test_lines_come_while_the_job_runs(backend, tmp_path):
    go_on = tmp_path / "go-on"
    job = backend.submit(
        script(
            tmp_path,
            "import os, time\nprint('begun')\n"
            f"while not os.path.exists({str(go_on)!r}): time.sleep(0.01)\nprint('ended')",
        )
    )
    lines, code = backend.check(job, 20.0)
    assert ([line.text for line in lines], code) == (["begun"], None)
    go_on.touch()
    lines, code = to_end(backend, job)
    assert ([line.text for line in lines], code) == (["ended"], 0)


def test_the_end_is_noticed_at_once(backend, tmp_path):
    job = backend.submit(script(tmp_path, "print('only')"))
    begin = time.monotonic()
    lines, code = [], None
    while code is None:
        new, code = backend.check(job, 60.0)
        lines += new
    assert ([line.text for line in lines], code) == (["only"], 0)
    assert time.monotonic() - begin < 20


def test_a_process_left_behind_does_not_hold_the_end_up(backend, tmp_path):
    """It keeps the pipes open, as a daemon would."""
    job = backend.submit(
        script(
            tmp_path,
            "import subprocess, sys\n"
            "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            "print(left.pid)",
        )
    )
    lines, code = to_end(backend, job)
    assert code == 0
    psutil.Process(int(lines[0].text)).kill()


STUBBORN = """
import os, signal, subprocess, sys, time
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, "child"])
    rank = subprocess.Popen([sys.executable, __file__, "rank"], start_new_session=True)
    IGNORE
    print(os.getpid(), child.pid, rank.pid)
time.sleep(60)
"""


@pytest.mark.parametrize("ignores", [False, True], ids=["obeys SIGTERM", "ignores SIGTERM"])
def test_cancel_ends_the_whole_tree(backend, tmp_path, ignores):
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if ignores else ""
    job = backend.submit(script(tmp_path, STUBBORN.replace("IGNORE", ignore)))
    lines, code = backend.check(job, 20.0)
    assert code is None
    tree = [psutil.Process(int(pid)) for pid in lines[0].text.split()]
    begin = time.monotonic()
    backend.cancel(job, 1.0)
    assert time.monotonic() - begin < 10
    _, alive = psutil.wait_procs(tree, timeout=5)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    _, code = to_end(backend, job)
    assert code == (-9 if ignores else -15)


def test_a_job_ends_with_its_task_process(tmp_path):
    """The task process is killed with SIGKILL: nobody is left to end the job but the kernel."""
    job = tmp_path / "job.py"
    job.write_text("import time\nprint('begun')\ntime.sleep(60)")
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {os.environ['AIRFLOW_HOME'] + '/plugins'!r})\n"
        "from tbseg_airflow.backends.local import LocalBackend\n"
        "backend = LocalBackend()\n"
        f"job = backend.submit([sys.executable, {str(job)!r}])\n"
        "backend.check(job, 20)\n"
        "print(job.process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with psutil.Popen([sys.executable, str(parent)], stdout=-1, text=True) as process:
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
        child.wait(timeout=10)


def test_a_program_that_is_not_there(backend):
    from tbseg_airflow.backends.contract import ProgramMissingError

    with pytest.raises(ProgramMissingError, match=r"no-such-program is not installed(.|\n)*mend:"):
        backend.submit(["no-such-program"])


def test_no_shell_reads_the_arguments(backend, tmp_path):
    nasty = ["$(touch hacked)", "; false", "a b", "*", "--", "\N{SNOWMAN}", "-x"]
    job = backend.submit(
        [*script(tmp_path, "import sys, json\nprint(json.dumps(sys.argv[1:]))"), *nasty]
    )
    lines, code = to_end(backend, job)
    assert code == 0
    assert json.loads(lines[0].text) == nasty
