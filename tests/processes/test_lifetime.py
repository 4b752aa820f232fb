"""The end of processes: SIGTERM, a time for all together, SIGKILL; what has left is found."""

import signal
import subprocess
import sys
import time

import psutil

from tbseg_ops.processes.lifetime import end, is_alive, session

SLEEP = "import signal, sys, time; {}; print('begun', flush=True); time.sleep(60)"
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def begun(text: str = "pass") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP.format(text)], stdout=subprocess.PIPE, start_new_session=True
    )
    process.stdout.readline()
    return process


def test_the_stubborn_are_killed_and_the_others_asked():
    both = [begun(), begun(IGNORE)]
    end([psutil.Process(process.pid) for process in both], 1.0)
    assert [process.wait(10) for process in both] == [-signal.SIGTERM, -signal.SIGKILL]
    for process in both:
        process.stdout.close()


def test_nobody_waits_for_those_that_have_ended():
    process = begun()
    one = psutil.Process(process.pid)
    process.kill()
    while is_alive(one):
        time.sleep(0.01)
    begin = time.monotonic()
    end([one], 30.0)  # a zombie: its parent has not asked yet
    assert time.monotonic() - begin < 10
    assert process.wait(10) == -signal.SIGKILL
    process.stdout.close()
    end([one], 30.0)
    assert time.monotonic() - begin < 10


def test_a_session_outlives_its_leader():
    start = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    leader = subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, start_new_session=True
    )
    left = int(leader.stdout.readline())
    leader.wait(10)
    leader.stdout.close()
    assert [process.pid for process in session(leader.pid)] == [left]
    end(session(leader.pid), 10.0)
    assert not [process for process in session(leader.pid) if is_alive(process)]


ADOPTING = """
import subprocess, sys, time
import psutil
from tbseg_ops.processes.lifetime import adopt_orphans, collect_orphans

adopt_orphans()
leaves = "import subprocess; subprocess.Popen(['sleep', '0.3'])"
subprocess.run([sys.executable, "-c", leaves], check=True)
own = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
end = time.monotonic() + 20
while [process.pid for process in psutil.Process().children()] not in ([own.pid], []):
    assert time.monotonic() < end
    collect_orphans([own.pid])
    own.poll()
    time.sleep(0.02)
print(own.wait())
"""


def test_orphans_that_end_are_collected_and_own_children_keep_their_code():
    words = [sys.executable, "-c", ADOPTING]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("7\n", "")
