"""A whole run with the engine ilastik (its stand-in), next to one with the engine native."""

import shlex
import sys
from pathlib import Path

import h5py
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError
from tests import fake_ilastik
from tests.runs import VESSELS, datasets, planned, same, spec_of, through


@pytest.fixture
def program(monkeypatch):
    words = [sys.executable, str(Path(fake_ilastik.__file__))]
    monkeypatch.setenv("TBSEG_ILASTIK", shlex.join(words))


def test_a_run_with_ilastik_gives_what_native_gives(program, finished, tmp_path):
    run = tmp_path / "run"
    made = planned(run, finished / "slices", engine="ilastik", tile=(37, 24, 53))
    assert "adapter" in made.engine_version
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


def test_changing_the_engine_recomputes(program, finished, tmp_path):
    run = tmp_path / "run"
    planned(run, finished / "slices", tile=(37, 45, 53))
    through(run, until="classify")
    with pytest.raises(ConfigError, match="other parameters"):
        planned(run, finished / "slices", tile=(37, 45, 53), engine="ilastik")
    spec = spec_of(finished / "slices", tile=(37, 45, 53), engine="ilastik")
    steps.plan(spec=spec, run=run, update=True)
    assert steps.classify(run=run).computed == 1


def test_a_hostile_pickle_is_refused_at_plan(program, finished, tmp_path):
    ilp = tmp_path / "hostile.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    with h5py.File(ilp, "r+") as file:
        del file["PixelClassification/ClassifierFactory"]
        file["PixelClassification/ClassifierFactory"] = b"cos\nsystem\n(S'touch /tmp/x'\ntR."
    with pytest.raises(InputError, match=r"ClassifierFactory|os\.system|posix"):
        planned(tmp_path / "run", finished / "slices", engine="ilastik", classifier=str(ilp))


def test_a_worker_makes_the_safe_copy_once(program, finished, tmp_path, monkeypatch):
    from tbseg_ops.engines.ilastik import engine, safe_project

    run = tmp_path / "run"
    made = planned(run, finished / "slices", engine="ilastik", tile=(37, 24, 53))
    through(run, until="split")
    copies = []
    real = safe_project.safe_project
    for module in (engine, safe_project):
        monkeypatch.setattr(
            module,
            "safe_project",
            lambda path, channels: copies.append(path) or real(path, channels),
        )
    assert steps.classify(run=run).computed == len(made.grid) == 2
    assert copies == [str(VESSELS.classifier)]
