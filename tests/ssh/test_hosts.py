"""Three hosts with real sshds in network namespaces: cut off, dead, hanging, crowded; MPI."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.runs import planned, through
from tests.ssh.namespaces import Net, missing
from tests.ssh.test_trigger import TILES_24, claims, computed, ended, together, trigger_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("net")]


@pytest.fixture
def net(tmp_path, monkeypatch):
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    made = []

    def make(seconds=1.0, startups="100", program=None):
        net = Net(tmp_path / "net", 3, seconds)
        made.append(net)
        for host in net.hosts:
            host.startups, host.program = startups, program or host.program
        net.start()
        for name, value in net.environment.items():
            monkeypatch.setenv(name, value)
        return net

    yield make
    for net in made:
        net.end()


@pytest.fixture(scope="module")
def local(finished, tmp_path_factory):
    run = tmp_path_factory.mktemp("local") / "run"
    planned(run, finished / "slices", tile=TILES_24)
    through(run)
    return (run / "segmentation.h5").read_bytes()


@pytest.fixture
def run(finished, tmp_path):
    planned(tmp_path / "run", finished / "slices", tile=TILES_24, max_batches=24)
    through(tmp_path / "run", until="ingest")
    return tmp_path / "run"


def right(run, local):
    through(run)
    return (run / "segmentation.h5").read_bytes() == local


@pytest.mark.parametrize("how", ["back", "away", "dead"])
def test_a_host_is_cut_off_in_the_middle(how, net, run, local):
    made = net()

    async def cut():
        while not any(json.loads(c.read_text())["host"] == "net2" for c in claims(run)):
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        if how == "dead":
            made.hosts[1].end()
            return
        made.hosts[1].cut()
        if how == "back":
            await asyncio.sleep(4)
            made.hosts[1].mend()

    events = together(run, made.settings(), "classify", 24, cut)
    assert computed(events) <= 24  # nothing ran twice at once: the wrapper would have said so
    assert {event["host"] for event in events} >= {"tbseg1 (net1)", "tbseg3 (net3)"}
    assert right(run, local)


def test_a_server_process_that_is_stopped(net, run, local, monkeypatch):
    """The connection is there and says nothing: found out by keepalives."""
    made = net()

    async def stop():
        while len(claims(run)) < 6:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        children = psutil.Process(made.hosts[0].process.pid).children(recursive=True)
        for process in children:
            if process.name() == "sshd" and "root@" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGSTOP)

    events = together(run, made.settings(lease=60.0), "classify", 24, stop)
    assert computed(events) == 24
    assert right(run, local)


def test_a_crowded_server(net, run, local):
    """MaxStartups: connections are refused at random; they are tried again."""
    made = net(seconds=0, startups="1:90:2")
    events = together(run, made.settings(), "classify", 24)
    assert computed(events) == 24
    assert right(run, local)


@pytest.mark.parametrize("step", ["ingest", "merge"])
def test_mpi_over_three_hosts(step, net, run, local):
    made = net(seconds=0, program=Path(sys.executable).with_name("tbseg"))
    options = ["-launcher-exec", str(made.ssh), "-iface", "eth0"]
    settings = made.settings(mpi={"steps": [step], "ranks": 1, "options": options})
    if step == "merge":
        through(run, until="classify")
    else:
        subprocess.run(["rm", "-r", str(run / "volume"), str(run / "records")], check=True)
    event = asyncio.run(ended(trigger_of(run, settings, step)))
    assert event["code"] == 0, event
    assert event["transcript"]["report"]["computed"] >= 1
    assert right(run, local)
