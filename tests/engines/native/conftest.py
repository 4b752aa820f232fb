import pytest


@pytest.fixture(scope="session")
def generic_kernels(tmp_path_factory):
    """Where kernels for the oldest processors are kept between tests."""
    return tmp_path_factory.mktemp("generic")
