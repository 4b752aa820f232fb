"""Airflow in the tests' own process, and a rack of hosts."""

import pytest

from tbseg_ops.hosts.store import JobStore
from tests.airflow_home import airflow_here
from tests.ssh.rack import Rack


@pytest.fixture(scope="session", autouse=True)
def home():
    """The home of this process' Airflow. Tests import airflow themselves, after this."""
    return airflow_here()


@pytest.fixture
def rack(tmp_path, monkeypatch):
    """Makes a running rack; its jobs and servers end with the test."""
    made = []

    def make(count, **more):
        rack = Rack(tmp_path / "rack", count, **more)
        made.append(rack)
        rack.start()
        for name, value in rack.environment.items():
            monkeypatch.setenv(name, value)
        return rack

    yield make
    for rack in made:
        rack.end()
        for host in rack.hosts:
            store = JobStore(host.jobs)
            for name in store.names() if host.jobs.exists() else ():
                store.cancel(name, 30)
