"""Airflow in the tests' own process."""

import pytest

from tests.airflow_home import airflow_here


@pytest.fixture(scope="session", autouse=True)
def home():
    """The home of this process' Airflow. Tests import airflow themselves, after this."""
    return airflow_here()
