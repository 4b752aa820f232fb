"""Two hosts on two mounts of one folder, where each sees late what the other one writes."""

import multiprocessing
import os
import socket
from collections import Counter
from contextlib import ExitStack, suppress

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import IntegrityError, TbsegError
from tbseg_ops.run import RunFolder
from tbseg_ops.settings import SEEN_WITHIN
from tests.filesystems.mounts import NEEDED, mounted
from tests.quick import some_slow
from tests.runs import datasets, files_below, planned, same, spec_of, stack, through

pytestmark = NEEDED
SMALL = (13, 23, 14)  # 24 tiles


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with ``slices`` and the ``run`` of 24 tiles that one host made on its own disk."""
    folder = tmp_path_factory.mktemp("here")
    planned(folder / "run", stack(folder / "slices"), tile=SMALL)
    through(folder / "run")
    return folder


def _work(name, run, pipe):
    socket.gethostname = lambda: name
    while True:
        step, names, more = pipe.recv()
        for each in names:  # it remembers of each whether it is there
            with suppress(OSError):
                os.stat(run / each)
        try:
            pipe.send(getattr(steps, step)(run=run, **more))
        except TbsegError as error:
            pipe.send(error)


class Host:
    """A process that does steps below its mount, and has looked for all files just before."""

    def __init__(self, name, mount, names):
        self._names = names
        self._pipe, end = multiprocessing.Pipe()
        work = (name, mount / "run", end)
        self._process = multiprocessing.get_context("fork").Process(target=_work, args=work)
        self._process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.join()

    def begin(self, step, *, look=True, **more):
        self._pipe.send((step, self._names if look else (), more))

    def end(self):
        assert self._pipe.poll(60)
        result = self._pipe.recv()
        if isinstance(result, TbsegError):
            raise result
        return result

    def do(self, step, **more):
        self.begin(step, **more)
        return self.end()


@pytest.fixture
def two_hosts(here, tmp_path):
    """Called with the delay: two hosts on two mounts, and the folder below them."""
    names, backing = sorted(files_below(here / "run")), tmp_path / "backing"
    with ExitStack() as stack:

        def made(late):
            mounts = [
                stack.enter_context(mounted(backing, tmp_path / name, {"late": late}))
                for name in ("a", "b")
            ]
            (backing / "run").mkdir()
            hosts = [
                stack.enter_context(Host(f"host-{mount.name}", mount, names)) for mount in mounts
            ]
            return *hosts, backing

        yield made


@pytest.mark.parametrize("late", some_slow([1, 5], 1))
def test_no_tile_is_lost_or_damaged_or_computed_twice(late, here, two_hosts, monkeypatch):
    monkeypatch.setenv(SEEN_WITHIN.name, str(2 * late))
    a, b, backing = two_hosts(late)
    # Each step begins on a host that has just seen that nothing is there.
    b.begin("ingest")
    with pytest.raises(TbsegError, match="not the folder of a planned run"):
        b.end()
    a.do("plan", spec=spec_of(here / "slices", tile=SMALL))
    b.do("ingest")
    a.do("split")
    hosts, computed = (a, b), 0
    for first in range(0, 24, 2):
        for host, batch in zip(hosts, (first, first + 1), strict=True):
            host.begin("classify", batch=batch)
        computed += sum(host.end().computed for host in hosts)
    assert computed == 24
    a.do("merge")
    b.do("verify")
    a.do("publish")
    run = RunFolder(backing / "run")
    assert same(datasets(run.segmentation_file), datasets(here / "run" / "segmentation.h5"))
    assert files_below(run.path) == files_below(here / "run")
    tiles = [run.records("classify").get(tile.name) for tile in run.plan.grid]
    assert Counter(record.host for record in tiles) == {"host-a": 12, "host-b": 12}
    assert {record.attempts for record in tiles} == {1}


def test_a_try_on_another_host_finds_what_it_cannot_see(here, two_hosts, monkeypatch):
    """The name is taken, and seems free: it waits and takes the other one's file."""
    monkeypatch.setenv(SEEN_WITHIN.name, "6")
    a, b, backing = two_hosts(3)
    a.do("plan", spec=spec_of(here / "slices", tile=SMALL), look=False)
    a.do("ingest", look=False)
    a.do("split", look=False)
    a.do("classify", batch=2, look=False)  # makes the folders
    b.do("classify", batch=1)  # it has looked for all class files
    a.do("classify", batch=0, look=False)
    before = {path: path.read_bytes() for path in (backing / "run" / "classes").iterdir()}
    assert b.do("classify", batch=0, look=False).computed == 1
    after = {path: path.read_bytes() for path in (backing / "run" / "classes").iterdir()}
    assert len(after) == 3
    assert after == before
    assert files_below(backing / "run") < files_below(here / "run")


def test_what_is_missing_is_missing_after_a_while(here, two_hosts, monkeypatch):
    monkeypatch.setenv(SEEN_WITHIN.name, "2")
    a, b, _ = two_hosts(1)
    a.do("plan", spec=spec_of(here / "slices", tile=SMALL), look=False)
    with pytest.raises(IntegrityError, match="24 of 24 tiles are not classified"):
        b.do("merge")
