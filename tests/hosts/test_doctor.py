"""The checks before work starts: fit machines pass, and what is wrong is named."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tbseg_ops.hosts.doctor import Doctor, doctor, leave_token, take_token
from tests.runs import copied, last_json, planned, tbseg


@pytest.fixture
def run(finished, tmp_path):
    return copied(finished, tmp_path)


def rows(found: Doctor):
    return {row.check: row for row in found.rows}


def test_this_machine_is_fit(run):
    before = sorted(run.rglob("*"))
    leave_token(run, "abc")
    found = doctor(run=run, token="abc")
    take_token(run, "abc")
    assert found.fit, found
    assert {row.state for row in found.rows} == {"good"}
    assert "two ranks" in rows(found)["MPI"].found
    assert set(run.rglob("*")) - set(before) == {run / "jobs"}


def test_the_settings_are_shown(run, monkeypatch):
    monkeypatch.setenv("TBSEG_ROOTS", "/")
    monkeypatch.setenv("TBSEG_PATHS", "")
    row = rows(doctor(run=run))["settings"]
    assert row.state == "good"
    assert "TBSEG_ROOTS=/" in row.found.split(", ")
    assert "TBSEG_PATHS" not in row.found


def test_before_anything_is_ingested(finished, tmp_path):
    planned(tmp_path / "run", finished / "slices")
    assert doctor(run=tmp_path / "run").fit


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lambda run, patch: {"token": "other"}, "same folder"),
        (lambda run, patch: {"version": "9.9"}, "version"),
        (lambda run, patch: (run / "plan.json").unlink(), "run folder"),
        (lambda run, patch: patch.setenv("TBSEG_ROOTS", "/nowhere"), "run folder"),
        (lambda run, patch: patch.setenv("TBSEG_ILASTIK_TIMEOUT", "soon"), "settings"),
        (lambda run, patch: patch.setenv("TBSEG_DATASETS", "relative"), "settings"),
        (lambda run, patch: _no_room(patch), "disk"),
        (lambda run, patch: patch.setattr("psutil.virtual_memory", _no_memory), "memory"),
    ],
)
def test_what_is_wrong_is_a_bad_row(damage, check, run, monkeypatch):
    (run / "records/classify/z000_y000_x000.json").unlink()
    more = damage(run, monkeypatch)
    found = doctor(run=run, **(more if isinstance(more, dict) else {}))
    assert not found.fit
    assert rows(found)[check].state == "bad"
    assert len(found.rows) == 17


def _no_room(patch):
    patch.setattr(sys.modules["tbseg_ops.hosts.doctor"], "free_bytes", lambda path: 10)


def test_the_limit_of_a_pod_counts(run, monkeypatch):
    monkeypatch.setattr(sys.modules["tbseg_ops.hosts.doctor"], "memory_left", lambda: 10_000_000)
    row = rows(doctor(run=run))["memory"]
    assert row.state == "bad"
    assert row.found.startswith("0.0 GB available within the limit of this pod or job")
    assert "raise that limit" in row.mend


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_folder_of_another_user_is_told_with_owner_and_mode(run, tmp_path):
    top = Path(tempfile.gettempdir())
    for above in run.parents:  # pytest's own are for their owner alone
        if above.is_relative_to(top) and above != top:
            above.chmod(0o755)
    run.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tbseg_ops.hosts.doctor import doctor\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "rows = {row.check: row for row in doctor(run=Path(sys.argv[1])).rows}\n"
        "print(rows['run folder'].state, rows['run folder'].found, rows['run folder'].mend)"
    )
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bad "), done.stdout
    assert "user 0's, group 0, mode 0755: user 65534 of groups [65534]" in done.stdout
    assert "fsGroup" in done.stdout


class _no_memory:
    available = 1000


def test_without_mpi_there_is_a_note(run, monkeypatch):
    monkeypatch.setattr(sys.modules["tbseg_ops.hosts.doctor"], "_MPI", "import sys; sys.exit(3)")
    found = doctor(run=run)
    assert found.fit
    assert rows(found)["MPI"].state == "note"


def test_the_command_prints_a_table_and_one_object(run):
    done = tbseg("doctor", "--run", run, "--json")
    assert last_json(done)["fit"] is True
    assert "ok    disk" in done.stderr
    assert "ok    fsync of a folder" in done.stderr
    os.remove(run / "inputs.json")
    done = tbseg("doctor", "--run", run, "--json")
    assert done.returncode == 78
    assert "BAD   disk" in done.stderr
    assert "error: " in done.stderr
