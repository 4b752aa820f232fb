"""A whole run with the engine ilastik (its stand-in), next to one with the engine native."""

import shlex
import sys
from pathlib import Path

import h5py
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError, IntegrityError
from tests import fake_ilastik
from tests.runs import VESSELS, copied, datasets, planned, same, spec_of, through


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


def test_prove_asks_ilastik_where_it_is_and_counts_voxels(program, finished, tmp_path):
    """A build that rounds otherwise is not damage; more than 1 % of a box is."""
    run = copied(finished, tmp_path)
    proof = steps.prove(run=run, boxes=2, side=64)
    assert (proof.engine, proof.exact, proof.boxes, proof.labels) == ("ilastik", False, 2, 0)
    assert proof.statement.startswith(
        "0 of 2 boxes differ in a label, or in more than 1 % of their voxels: "
    )
    with h5py.File(run / "segmentation.h5", "r+") as file:
        labels = file["labels"]
        labels[0, 0, :7] = 3 - labels[0, 0, :7]
    proof = steps.prove(run=run, boxes=1, side=64)
    assert (proof.differing, proof.wrong, proof.labels) == (1, 0, 7)
    assert "7 of 88,245 voxels have another label" in proof.statement
    assert "7 voxels of labels" in str(proof.different[0])
    with h5py.File(run / "segmentation.h5", "r+") as file:
        labels = file["labels"]
        labels[:1] = 3 - labels[:1]
    with pytest.raises(IntegrityError, match="1 of 1 boxes"):
        steps.prove(run=run, boxes=1, side=64)


def test_prove_takes_another_engine_than_the_run(program, finished, tmp_path, monkeypatch):
    run = tmp_path / "run"
    planned(run, finished / "slices", engine="ilastik", tile=(37, 45, 53))
    through(run, until="merge")
    proof = steps.prove(run=run, boxes=3)
    assert (proof.engine, proof.exact, proof.differing) == ("native", False, 0)
    monkeypatch.setenv("TBSEG_ILASTIK", "/no/such/program")
    with pytest.raises(ConfigError, match="was not found"):
        steps.prove(run=finished / "run", boxes=3)
    monkeypatch.delenv("TBSEG_ILASTIK")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert steps.prove(run=copied(finished, tmp_path / "copy"), boxes=3).engine == "native"
