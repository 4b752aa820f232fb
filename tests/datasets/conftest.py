"""A registry of the test's own."""

import pytest

from tbseg_ops.datasets import Dataset
from tests.runs import spec_of


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    folder = tmp_path / "registry"
    monkeypatch.setenv("TBSEG_DATASETS", str(folder))
    return folder


@pytest.fixture
def dataset(tmp_path):
    return Dataset.of(
        owner="me", runs=str(tmp_path / "runs"), spec=spec_of(tmp_path / "slices").model_dump()
    )
