"""Faults 7 to 9: a disk that is full, too small, or refuses."""

import resource
import subprocess
import sys

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, ResourceError
from tbseg_ops.storage import commit
from tests.quick import some_slow
from tests.runs import (
    command,
    copied,
    datasets,
    files_below,
    planned,
    same,
    spec_of,
    stack,
    tbseg,
    temporary_files,
    through,
)


def test_a_disk_that_is_too_small_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tbseg_ops.steps.plan"], "free_bytes", lambda path: 1000)
    with pytest.raises(ResourceError, match="disk is too small") as caught:
        steps.plan(spec=spec_of(stack(tmp_path / "slices")), run=tmp_path / "run")
    assert "expected: 0.00 GB free" in str(caught.value)
    assert files_below(tmp_path / "run") == set()


def test_what_is_finished_needs_no_room(finished, tmp_path, monkeypatch):
    run = copied(finished, tmp_path)
    monkeypatch.setattr(sys.modules["tbseg_ops.steps.plan"], "free_bytes", lambda path: 0)
    planned(run, tmp_path / "slices")
    (run / "records/classify/z000_y000_x000.json").unlink()
    with pytest.raises(ResourceError, match="disk is too small"):
        planned(run, tmp_path / "slices")


def test_tiles_of_another_size_count_as_nothing_and_go_after_the_merge(
    finished, tmp_path, monkeypatch
):
    run = copied(finished, tmp_path)
    other = spec_of(tmp_path / "slices", tile=(37, 45, 53))
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["tbseg_ops.steps.plan"], "free_bytes", lambda path: 10_000)
        with pytest.raises(ResourceError, match="disk is too small"):
            steps.plan(spec=other, run=run, update=True)
    steps.plan(spec=other, run=run, update=True)
    through(run, until="classify")
    assert len(list((run / "classes").iterdir())) > 1  # of use until the new result is there
    through(run)
    for folder in ("tiles", "classes", "records/split", "records/classify"):
        assert len(list((run / folder).iterdir())) == 1, folder


def test_a_merged_file_that_does_not_fit_is_said_before_it_is_written(
    finished, tmp_path, monkeypatch
):
    run = copied(finished, tmp_path)
    before = (run / "segmentation.h5").read_bytes()
    (run / "records/merge/volume.json").unlink()
    monkeypatch.setattr(sys.modules["tbseg_ops.steps.merge"], "free_bytes", lambda path: 1000)
    with pytest.raises(ResourceError, match="too small for the merged file"):
        steps.merge(run=run)
    assert (run / "segmentation.h5").read_bytes() == before


@pytest.mark.parametrize("step", ["ingest", "split", "classify", "merge"])
@pytest.mark.parametrize("limit", some_slow([3000, 100], 1))
def test_a_write_that_fails_commits_nothing(step, limit, finished, tmp_path):
    """A file size limit makes write() fail for real, in the middle, as a full disk does."""
    run = tmp_path / "run"
    planned(run, finished / "slices")
    order = ["ingest", "split", "classify", "merge"]
    if order.index(step) > 0:
        through(run, until=order[order.index(step) - 1])
    before = files_below(run)
    ended = subprocess.run(
        command(step, "--run", run, "--workers", 1),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == ResourceError.exit_code, ended.stderr
    assert "error: the disk is full" in ended.stderr
    assert "mend: free some space" in ended.stderr
    assert {f for f in files_below(run) - before if not f.startswith("records/")} == set()
    assert temporary_files(run) == []
    through(run)  # space was freed: the same command goes on
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


def test_a_folder_that_cannot_be_written(tmp_path, finished):
    (tmp_path / "file").touch()
    refused = tbseg(
        "plan", finished / "slices", spec_of("/x").classifier, tmp_path / "file" / "run"
    )
    assert refused.returncode in (ConfigError.exit_code, ResourceError.exit_code)
    assert str(tmp_path / "file") in refused.stderr


def test_a_folder_without_the_right_to_write(tmp_path, finished, monkeypatch):
    """As root every folder can be written, so the system's answer is given by hand."""
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="cannot be used") as caught:
        steps.plan(spec=spec_of(finished / "slices"), run=tmp_path / "run")
    assert str(tmp_path / "run") in str(caught.value)


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path):
    assert commit.free_bytes(tmp_path / "a" / "b") == pytest.approx(
        commit.free_bytes(tmp_path), rel=0.2
    )
