"""Files that are there but are not what they should be: found, named and mended, never believed."""

import errno
import os
import re
import shutil
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, IntegrityError, ResourceError
from tbseg_ops.run import Inputs, Plan, Record, RunFolder
from tbseg_ops.run.outputs import chunks_digest, raw_chunks
from tbseg_ops.run.status import status
from tests.faults.test_kill import children, start, wait_for
from tests.faults.test_mpi import MPIEXEC
from tests.runs import (
    command,
    copied,
    datasets,
    planned,
    same,
    spec_of,
    stack,
    tbseg,
    temporary_files,
    through,
)


@pytest.fixture
def run(finished, tmp_path):
    return copied(finished, tmp_path)


def forget(run, *steps_):
    """Remove the files and records of steps."""
    for step in steps_:
        shutil.rmtree(run / {"ingest": "volume", "split": "tiles", "classify": "classes"}[step])
        shutil.rmtree(run / "records" / step)


# The volume


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EMFILE, ResourceError), (errno.EACCES, ConfigError)]
)
@pytest.mark.parametrize("mode", ["copy", "virtual"])
def test_a_slab_that_cannot_be_opened_is_no_zeros(
    mode, number, kind, finished, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    planned(run, finished / "slices", split=mode)
    through(run, until="ingest")
    real = h5py.File

    def refuse(name, *args, **kwargs):
        if "slab_00000" in str(name):
            raise OSError(number, os.strerror(number))
        return real(name, *args, **kwargs)

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(kind, match=r"slab_00000"):
        through(run, until="classify")
    monkeypatch.undo()
    assert not list((run / "records").glob("classify/*"))
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))


def test_a_stale_virtual_volume_is_not_read(run, tmp_path):
    """ingest killed between the last slab and volume.h5: what it points to is gone."""
    expected = datasets(run / "segmentation.h5")
    with h5py.File(run / "volume.h5", "w") as file:
        layout = h5py.VirtualLayout(RunFolder(run).plan.volume.shape, np.uint8)
        layout[...] = h5py.VirtualSource("volume/gone.h5", "volume", shape=layout.shape)
        file.create_virtual_dataset("volume", layout, fillvalue=0)
    forget(run, "split", "classify")
    for step in (steps.split, steps.classify, steps.merge, steps.verify):
        step(run=run)
    assert same(datasets(run / "segmentation.h5"), expected)


def test_inputs_of_another_plan_are_refused(run):
    """Planning was killed between inputs.json and plan.json."""
    inputs = RunFolder(run).inputs
    fingerprints = (*inputs.fingerprints[:-1], "0" * 64)
    other = inputs.model_copy(update={"fingerprints": fingerprints})
    (run / "inputs.json").write_bytes(other.to_bytes())
    with pytest.raises(ConfigError, match="does not belong to the plan"):
        steps.ingest(run=run)
    done = tbseg("status", run)
    assert done.returncode == 78
    assert "--update" in done.stderr


# Records and the files that they name


def header_damaged(path):
    """Flip bytes of the object header of the file's root group."""
    data = bytearray(path.read_bytes())
    at = data.index(b"OHDR")
    data[at + 8 : at + 40] = b"\xff" * 32
    path.write_bytes(data)


@pytest.mark.parametrize("step", ["split", "classify"])
def test_a_damaged_header_without_a_record_is_made_anew(step, run):
    expected = datasets(run / "segmentation.h5")
    folder = RunFolder(run)
    tile = folder.plan.grid[3].name
    record = folder.records(step).get(tile)
    header_damaged(run / record.file)
    folder.records(step).drop(tile)
    assert getattr(steps, step)(run=run).computed == 1
    through(run)
    assert same(datasets(run / "segmentation.h5"), expected)


def test_the_record_speaks_of_the_file_that_is_kept(run):
    """The same voxels by another zlib: the file that is there stays, and so its facts."""
    folder = RunFolder(run)
    tile = folder.plan.grid[2]
    record = folder.records("classify").get(tile.name)
    path = run / record.file
    shutil.copy(path, path.with_suffix(".old"))
    with h5py.File(path.with_suffix(".old")) as old, h5py.File(path, "w", libver="v110") as new:
        for name, dataset in datasets(path.with_suffix(".old")).items():
            like = old[name]
            shape = {"chunks": like.chunks, "maxshape": like.maxshape}
            new.create_dataset(name, data=dataset, compression=9, **shape)
        for name, value in old.attrs.items():
            new.attrs[name] = value
        chunks = chunks_digest(raw_chunks(new, folder.plan, tile.core, (0, 0, 0)))
        new.attrs["chunks"] = np.bytes_(chunks)
    path.with_suffix(".old").unlink()
    assert chunks != record.chunks
    assert steps.classify(run=run, tiles=(tile.name,)).computed == 1
    assert folder.records("classify").get(tile.name).chunks == chunks
    steps.merge(run=run)
    steps.verify(run=run)


@pytest.mark.parametrize(
    "name", ["../x.h5", "/etc/passwd", "classes/../../x.h5", "report.html", "classes/a/b.h5", ""]
)
def test_a_record_names_files_of_the_run_only(name, run):
    path = next((run / "records/classify").glob("*.json"))
    path.write_text(re.sub(r'"file": ?"[^"]*"', f'"file":"{name}"', path.read_text()))
    assert RunFolder(run).records("classify").get(path.stem) is None
    assert steps.classify(run=run).computed == 0  # the file says what it is, and is adopted


def test_every_record_of_a_run_can_be_read(run):
    for path in run.glob("records/*/*.json"):
        Record.model_validate_json(path.read_bytes())


# The merged file


def test_verified_is_what_was_verified_last(run):
    assert status(run=run).verified
    with h5py.File(run / "segmentation.h5", "r+") as file:
        file["labels"][0, 0, 0] = 2 - (file["labels"][0, 0, 0] == 2)
    with pytest.raises(IntegrityError):
        steps.verify(run=run)
    assert not status(run=run).verified
    steps.merge(run=run)
    assert not status(run=run).verified
    steps.verify(run=run)
    assert status(run=run).verified
    (run / "segmentation.h5").unlink()
    state = status(run=run)
    assert state.segmentation is None
    assert not state.verified


def rename_label(file):
    name = next(iter(file["classes"]))
    file["classes"].move(name, "other")


def exchange_labels(file):
    names = list(file["classes"])
    for name, other in zip(names, reversed(names), strict=True):
        file["classes"][name].attrs["label"] = other


def add_dataset(file):
    file["more"] = np.zeros(3)


def add_link(file):
    file["more"] = h5py.ExternalLink("/etc/passwd", "/")


def other_axes(file):
    file["labels"].attrs["axistags"] = "{}"


def other_key(file):
    file.attrs["key"] = np.bytes_("0" * 64)


@pytest.mark.parametrize(
    "alter", [rename_label, exchange_labels, add_dataset, add_link, other_axes, other_key]
)
def test_verify_sees_another_form_and_merge_mends_it(alter, run):
    with h5py.File(run / "segmentation.h5", "r+") as file:
        alter(file)
    record = RunFolder(run).records("merge").get("volume")
    size = (run / "segmentation.h5").stat().st_size
    RunFolder(run).records("merge").put(record.model_copy(update={"size": size}))
    for step in (steps.verify, steps.publish):
        with pytest.raises(IntegrityError, match="tbseg merge"):
            step(run=run)
    assert steps.merge(run=run).computed == 1
    steps.verify(run=run)
    steps.publish(run=run)


def test_a_run_that_is_not_merged_is_not_published(run):
    for missing in (run / "records/merge/volume.json", run / "segmentation.h5"):
        missing.unlink()
        done = tbseg("publish", "--run", run)
        assert done.returncode == 74
        assert "tbseg merge" in done.stderr


# Mends that lead somewhere


@pytest.mark.parametrize("name", ["spec.json", "plan.json", "inputs.json"])
def test_a_damaged_file_of_the_plan_is_mended_as_the_message_says(name, run, tmp_path):
    expected = (run / name).read_bytes()
    (run / name).write_bytes(expected[:40])
    refused = tbseg("status", run) if name != "spec.json" else None
    spec = spec_of(tmp_path / "slices")
    more = ["--tile", "20,24,30", "--ingest", "copy"]
    if refused is None:
        refused = tbseg("plan", spec.volume, spec.classifier, run, *more)
    assert refused.returncode == 74
    assert "--update" in refused.stderr
    assert tbseg("plan", "--update", spec.volume, spec.classifier, run, *more).returncode == 0
    assert (run / name).read_bytes() == expected
    assert status(run=run).verified


def test_a_plan_that_was_only_formatted_is_the_same_plan(run):
    plan = Plan.model_validate_json((run / "plan.json").read_bytes())
    (run / "plan.json").write_text(plan.model_dump_json())
    tile = plan.grid[0].name
    assert steps.classify(run=run, tiles=(tile,)).computed == 1


def test_too_many_tiles_are_refused(tmp_path, finished):
    volume = stack(tmp_path / "large", np.zeros((40, 200, 200), np.uint8))
    refused = tbseg("plan", volume, spec_of("/x").classifier, tmp_path / "run", "--tile", "1,1,1")
    assert refused.returncode == 78
    assert "at most 1,000,000 tiles" in refused.stderr
    digits = tbseg("plan", volume, "c.ilp", tmp_path / "run", "--tile", "9" * 5000)
    assert digits.returncode == 2


# Exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("OSError(116, 'Stale file handle', '/data/x')", 75),
        ("PermissionError(13, 'Permission denied', '/data/x')", 78),
        ("OSError(28, 'No space left on device', '/data/x')", 75),
        ("MemoryError()", 75),
        ("ZeroDivisionError('x')", 70),
    ],
)
def test_no_error_ends_with_code_1(error, code, run):
    program = (
        "import sys; from tbseg_ops.cli import main, status\n"
        f"def fail(**k): raise {error}\n"
        f"status.status_step = fail; sys.argv = ['tbseg', 'status', {str(run)!r}]; main.main()"
    )
    done = subprocess.run(
        [command()[0], "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert "error: " in done.stderr


# Processes


def test_workers_do_not_outlive_a_killed_root(finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = start(flag, "linking:z001", "classify", "--run", run, "--workers", 2)
    wait_for(flag, process)
    theirs = children(process.pid)
    process.kill()
    process.wait(30)
    process.stdout.close()
    gone_by(theirs, 5)
    assert len(theirs) == 3, "two workers, and who looks at HDF5 files before they are opened"


def test_sigterm_to_one_rank_ends_the_job(finished, tmp_path):
    run, flag = tmp_path / "run", tmp_path / "flag"
    planned(run, finished / "slices")
    through(run, until="split")
    process = subprocess.Popen(
        [MPIEXEC, "-n", "2", *command("classify", "--run", run)],
        env={**os.environ, "TBSEG_PAUSE": "linking:z001", "TBSEG_PAUSE_FLAG": str(flag)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(flag, process)
    proxy = children(process.pid)
    ranks = [pid for parent in proxy for pid in children(parent)]
    root = min(ranks, key=rank_of)
    os.kill(root, signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode != 0
    gone_by(ranks, 5)
    through(run)
    assert same(datasets(run / "segmentation.h5"), datasets(finished / "run/segmentation.h5"))
    assert temporary_files(run) == []


def rank_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return int(re.search(rb"PMI_RANK=(\d+)", file.read())[1])


def gone_by(pids, seconds):
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# Keys


def test_a_longer_volume_keeps_the_slabs_that_are_the_same(finished):
    """An acquisition that goes on: what lies below is neither read nor written again."""
    folder = RunFolder(finished / "run")
    plan, inputs = folder.plan, folder.inputs
    depth, *plane = plan.volume.shape
    longer = plan.model_copy(
        update={"volume": plan.volume.model_copy(update={"shape": (depth + 5, *plane)})}
    )
    more = Inputs(
        slices=(*inputs.slices, *"abcde"), fingerprints=(*inputs.fingerprints, *("0" * 5))
    )
    slab, tile = plan.slabs[0], plan.grid[0]
    grown = folder.under(longer, more)
    assert grown.slab(slab) == folder.slab(slab)
    assert grown.sub_volume(tile) == folder.sub_volume(tile)
