"""One Airflow for all end-to-end tests, and a small volume for it."""

import socket

import pytest

from tests.airflow_home import make_home
from tests.e2e.deployment import Deployment, command
from tests.runs import VESSELS, stack


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    # A space in the path: people have them.
    home = make_home(tmp_path_factory.mktemp("airflow") / "a home")
    command(home, "up", "--port", str(free_port()))
    try:
        service = Deployment(home, None).service
        yield Deployment(home, service.login())
    finally:
        command(home, "down")


@pytest.fixture(scope="session")
def form(tmp_path_factory):
    """Values of the form for a small volume, eight tiles; the run folder differs per test."""
    slices = stack(tmp_path_factory.mktemp("volume") / "slices")
    return {
        "volume": str(slices),
        "classifier": str(VESSELS.classifier),
        "tile": "20,24,30",
        "calibration": 0,  # else some tiles are done before their instances of classify
    }
