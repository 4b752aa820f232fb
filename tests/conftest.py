"""Settings of the whole test suite."""

import multiprocessing.process
import os
import subprocess
import tempfile

import pytest
from hypothesis import settings

from tests.runs import planned, stack, through

# Two shared cores: a deadline would measure the neighbours.
settings.register_profile("tbseg", deadline=None, max_examples=60)
settings.load_profile("tbseg")


def pytest_addoption(parser):
    parser.addoption(
        "--no-programs",
        action="store_true",
        help="a test ends, skipped, where it would start a program or a worker (make check)",
    )


def pytest_configure(config):
    """What tests keep in the user's cache is theirs, and so is what they find there."""
    if hasattr(config, "workerinput"):
        return  # its process got that of the one that started it
    folder = tempfile.TemporaryDirectory(prefix="tbseg-cache-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["XDG_CACHE_HOME"] = folder.name


@pytest.fixture(autouse=True)
def no_programs(request, monkeypatch):
    """With ``--no-programs``, only the small readers of HDF5 files may start."""
    if not request.config.getoption("--no-programs"):
        return
    start = subprocess.Popen.__init__

    def only_readers(self, args, *more, **options):
        if not any(str(word).endswith(("text_reader.py", "prober.py")) for word in args):
            pytest.skip("starts a program: make test")
        start(self, args, *more, **options)

    def no_worker(self):
        pytest.skip("starts a worker: make test")

    monkeypatch.setattr(subprocess.Popen, "__init__", only_readers)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", no_worker)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with ``slices`` and the finished ``run`` over them; tests copy it (runs.copied)."""
    folder = tmp_path_factory.mktemp("finished")
    planned(folder / "run", stack(folder / "slices"))
    through(folder / "run")
    return folder


def pytest_terminal_summary(terminalreporter):
    """How equal the native engine is to ilastik, per reference set."""
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    lines = [text for r in reports for name, text in r.user_properties if name == "oracle"]
    if lines:
        terminalreporter.section("engine native against ilastik's own output")
        for line in sorted(lines):
            terminalreporter.write_line(line)
