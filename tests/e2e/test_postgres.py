"""Airflow on a PostgreSQL that goes away for a minute while a run goes on: the run ends right."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from scripts.service import free_port
from tests.airflow_home import make_home
from tests.e2e.deployment import deployed
from tests.e2e.test_deaths import assert_right, start_slow_run

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(BIN is None, reason="PostgreSQL's server is not installed"),
]

AWAY_SECONDS = 60


class Postgres:
    """A server of the test's own, below ``folder``; not root's, which it refuses."""

    def __init__(self, folder: Path):
        self.data, self.log, self.port = folder / "data", folder / "log", free_port(0)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "--auth=trust", "--username=airflow", "--no-sync")
        self.start()
        self._run("createdb", "--host=127.0.0.1", f"--port={self.port}", "--username=airflow",
                  "airflow", data=False)  # fmt: skip

    def _run(self, program: str, *arguments: str, data: bool = True) -> None:
        owner = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
        where = [f"--pgdata={self.data}"] if data else []
        subprocess.run(
            [str(BIN / program), *where, *arguments],
            user=owner,
            cwd=self.data.parent,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.data.parent}"
        self._run("pg_ctl", "--wait", f"--log={self.log}", f"--options={options}", "start")

    def stop(self) -> None:
        """As by a crash: no connection is ended in good order."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")


@pytest.fixture
def postgres():
    pytest.importorskip("psycopg2", reason="what Airflow asks PostgreSQL with is not installed")
    pytest.importorskip("asyncpg", reason="what Airflow asks PostgreSQL with is not installed")
    # The server's own user could not enter the folder of a test.
    folder = Path(tempfile.mkdtemp(prefix="tbseg-postgres-"))
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def deployment(postgres, tmp_path, monkeypatch):
    address = f"postgresql+psycopg2://airflow@127.0.0.1:{postgres.port}/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
    with deployed(make_home(tmp_path / "home")) as made:
        yield made


def test_it_is_away_for_a_minute(deployment, postgres, tmp_path):
    run = start_slow_run(deployment, tmp_path / "run")
    postgres.stop()
    time.sleep(AWAY_SECONDS)
    postgres.start()
    assert_right(deployment, run, tmp_path)
