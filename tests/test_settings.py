"""Settings: each is declared once and checked; TBSEG_ROOTS holds for each step and any path."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tbseg_ops import settings, steps
from tbseg_ops.classifier import read_passport
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.volume import open_source
from tests.runs import copied, spec_of, stack


@pytest.fixture
def allowed(tmp_path, monkeypatch):
    """A folder that may be used, beside one that may not, with links from the one to the other."""
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    for folder in (allowed, other):
        stack(folder / "slices")
        with h5py.File(folder / "v.h5", "w") as file:
            file["data"] = np.zeros((4, 4, 4), np.uint8)
    (allowed / "link").symlink_to(other / "slices")
    (allowed / "link.h5").symlink_to(other / "v.h5")
    (allowed / "mixed").mkdir()
    for path in sorted((other / "slices").iterdir()):
        (allowed / "mixed" / path.name).symlink_to(path)
    monkeypatch.setenv("TBSEG_ROOTS", str(allowed))
    return allowed


@pytest.mark.parametrize("volume", ["slices", "slices/*.tif", "v.h5", "v.h5:/data", "sl*/*.tif"])
def test_a_volume_inside_is_opened(volume, allowed):
    open_source(f"{allowed}/{volume}").close()


@pytest.mark.parametrize(
    "volume",
    [
        "../other/slices",
        "../other/slices/*.tif",
        "../other/v.h5:/data",
        "../other/nothing",
        "x:/../../other/v.h5:/data",
        "link",
        "link/*.tif",
        "l*/*.tif",
        "mixed",
        "mixed/*.tif",
        "link.h5",
        "link.h5:/data",
    ],
)
def test_a_volume_outside_is_refused(volume, allowed):
    with pytest.raises(ConfigError, match="outside of the folders"):
        open_source(f"{allowed}/{volume}")


def test_a_classifier_outside_is_refused(allowed):
    classifier = spec_of("/x").classifier
    shutil.copy(classifier, allowed / "inside.ilp")
    read_passport(str(allowed / "inside.ilp"))
    with pytest.raises(ConfigError, match="outside of the folders"):
        read_passport(classifier)


@pytest.mark.parametrize("step", [steps.ingest, steps.split, steps.classify, steps.merge])
def test_each_step_refuses_a_run_folder_outside(step, finished, tmp_path, monkeypatch):
    run = copied(finished, tmp_path)
    (tmp_path / "allowed").mkdir()
    monkeypatch.setenv("TBSEG_ROOTS", str(tmp_path / "allowed"))
    with pytest.raises(ConfigError, match="outside of the folders"):
        step(run=run)


def test_a_run_folder_outside_is_not_made(allowed, tmp_path):
    run = allowed / "x:" / ".." / ".." / "run"
    with pytest.raises(ConfigError, match="outside of the folders"):
        steps.plan(spec=spec_of(allowed / "slices"), run=run)
    assert not (tmp_path / "run").exists()


def test_without_the_setting_all_is_allowed(tmp_path, monkeypatch):
    monkeypatch.delenv("TBSEG_ROOTS", raising=False)
    assert RunFolder(tmp_path).path == tmp_path


def test_no_other_file_reads_a_variable_of_ours():
    root = Path(settings.__file__).parents[1]
    for folder in ("tbseg_ops", "plugins", "dags", "scripts"):
        for path in (root / folder).rglob("*.py"):
            read = re.findall(r"environ\b.{0,9}TBSEG_|getenv.{0,9}TBSEG_", path.read_text())
            assert not read, path
    names = [setting.name for setting in settings.SETTINGS]
    assert {"TBSEG_ROOTS", "TBSEG_JOBS", "TBSEG_ILASTIK_LOGS", "TBSEG_PAUSE_FLAG"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TBSEG_PATHS", "/a=b"),
        ("TBSEG_PATHS", "/a=/b:/c"),
        ("TBSEG_START_SECONDS", "long"),
        ("TBSEG_ILASTIK_MEMORY_MB", "inf"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name, text, monkeypatch):
    (setting,) = (setting for setting in settings.SETTINGS if setting.name == name)
    monkeypatch.setenv(name, "")
    assert setting.value is None
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"{name} makes no sense") as caught:
        setting.value  # noqa: B018
    assert caught.value.found == text


def test_the_longest_folder_that_matches_counts(monkeypatch):
    monkeypatch.setenv("TBSEG_PATHS", "/data=/mnt/data:/data/a=/b:/x=/y")
    assert settings.here("/data/a/v.h5") == "/b/v.h5"
    assert settings.here("/data/b/v.h5") == "/mnt/data/b/v.h5"
    assert settings.here("/database") == "/database"
