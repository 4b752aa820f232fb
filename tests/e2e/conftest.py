"""One Airflow for all end-to-end tests, and a small volume for it."""

import pytest

from tests.airflow_home import make_home
from tests.e2e.deployment import REPROCESS, deployed
from tests.runs import VESSELS, stack


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("airflow")
    home = make_home(folder / "a home")  # a space in the path: people have them
    with pytest.MonkeyPatch.context() as patch:
        # For the deployment, and for the command line that the tests call.
        patch.setenv("TBSEG_DATASETS", str(folder / "datasets"))
        patch.setenv("TBSEG_REPROCESS_SCHEDULE", "* * * * *")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin,vera:viewer")
        with deployed(home) as made:
            made.pause(REPROCESS)  # a test that wants its schedule switches it on
            yield made


@pytest.fixture(scope="session")
def form(tmp_path_factory):
    """Values of the form for a small volume, four tiles; the run folder differs per test."""
    slices = stack(tmp_path_factory.mktemp("volume") / "slices")
    return {
        "volume": str(slices),
        "classifier": str(VESSELS.classifier),
        "tile": "20,45,30",  # few: each instance of a task costs half a second and more
        "task_seconds": 0,  # a task for each tile
        "publish": "tiff",
        "calibration": 0,  # else some tiles are done before their instances of classify
    }


@pytest.fixture(scope="session")
def done(airflow, form, tmp_path_factory):
    """A finished run: its folder and its id."""
    folder = tmp_path_factory.mktemp("done") / "run"
    return folder, airflow.run(**form, run=str(folder))
