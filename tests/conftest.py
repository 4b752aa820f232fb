"""Settings of the whole test suite."""

import pytest
from hypothesis import settings

from tests.runs import planned, stack, through

# Two shared cores: a deadline would measure the neighbours.
settings.register_profile("tbseg", deadline=None, max_examples=60)
settings.load_profile("tbseg")


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
