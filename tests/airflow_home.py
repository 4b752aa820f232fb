"""Homes for Airflows of the tests' own: this repository's configuration, DAGs and plugins."""

import atexit
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from scripts.home import Home

ROOT = Path(__file__).parent.parent


def make_home(folder: Path) -> Home:
    """A copy of what a deployment needs, with keys of its own; the reference sets are linked."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "airflow.cfg", folder)
    for name in ("config", "dags", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    (folder / "tests" / "reference").symlink_to(ROOT / "tests" / "reference")
    home = Home(folder)
    home.prepare()
    return home


@cache
def airflow_here() -> Home:
    """The home of this process' own Airflow; to be called before the first import of airflow."""
    if "airflow" in sys.modules:
        raise RuntimeError("airflow was imported before its home was set")
    folder = Path(tempfile.mkdtemp(prefix="tbseg-airflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = make_home(folder / "home")
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        del os.environ[name]
    os.environ["AIRFLOW_HOME"] = str(home.path)
    sys.path.insert(0, str(home.path / "plugins"))
    return home
