"""tbseg dataset, and plan and run of a registered dataset."""

import json
import signal
import subprocess

import pytest
from typer.testing import CliRunner

from tbseg_ops.cli.main import app
from tbseg_ops.datasets import Runs, claim, claim_of
from tbseg_ops.errors import TbsegError
from tests.faults.test_kill import kill, start, wait_for
from tests.runs import VESSELS, last_json, stack, tbseg, through


def called(*arguments):
    """A command that computes nothing, in this process: twenty of them take no minute."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    code, error = result.exit_code, result.exception
    if isinstance(error, TbsegError):
        code = error.exit_code
    elif error is not None and not isinstance(error, SystemExit):
        raise error
    told = f"{result.stderr}{error}"
    return subprocess.CompletedProcess(arguments, code, result.stdout, told)


@pytest.fixture
def brain(tmp_path, monkeypatch):
    """A registered dataset "brain" that has no run yet."""
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    slices = stack(tmp_path / "slices")
    added = called(
        *("dataset", "add", "brain", slices, VESSELS.classifier, "--tile", "20,24,30"),
        *("--owner", "A. Nobody", "--schedule", "--threads", 2, "--workers", 1),
    )
    assert added.returncode == 0, added.stderr
    assert added.stdout.strip() == str(tmp_path / "registry" / "brain.toml")
    return tmp_path


def listed():
    (row,) = last_json(called("dataset", "list", "--json"))["datasets"]
    return row


def checked(*names):
    (row,) = last_json(called("dataset", "check", *names, "--json"))["datasets"]
    return row


def test_from_the_first_run_to_nothing_to_do(brain):
    row = listed()
    assert (row["name"], row["newest"], row["claim"], row["error"]) == ("brain", None, None, None)
    assert row["dataset"]["runs"] == str(brain / "brain-runs")
    assert (row["dataset"]["owner"], row["dataset"]["schedule"]) == ("A. Nobody", True)
    assert checked()["reasons"] == ["first run"]
    done = last_json(tbseg("run", "--dataset", "brain", "--json"))
    assert (done["dataset"], done["run"]) == ("brain", str(brain / "brain-runs" / "0001"))
    row = checked("brain")
    assert (row["needed"], row["reasons"], row["claim"]) == (False, ["unchanged"], None)
    assert listed()["newest"]["verified"] is True
    table = called("dataset", "list")
    assert "verified" in table.stdout
    assert "brain: needs no run" in called("dataset", "check").stdout
    assert called("dataset", "remove", "brain").returncode == 0
    assert (brain / "brain-runs" / "0001" / "segmentation.h5").exists()
    assert called("dataset", "check", "brain").returncode == 78


def test_a_plan_of_airflow_holds_its_claim_until_publish(brain):
    first = ("plan", "--dataset", "brain", "--holder", "airflow tbseg_segment/a", "--json")
    made = last_json(called(*first))
    run = brain / "brain-runs" / "0001"
    assert (made["dataset"], made["run"], made["tiles"]) == ("brain", str(run), 8)
    assert last_json(called(*first))["claim"] == made["claim"]  # a retry
    second = ("plan", "--dataset", "brain", "--holder", "airflow tbseg_segment/b", "--json")
    refused = called(*second)
    assert refused.returncode == 78
    assert "airflow tbseg_segment/a" in refused.stderr
    assert called("run", "--dataset", "brain").returncode == 78
    row = checked()
    assert row["claim"]["token"] == made["claim"]
    assert row["needed"] is True
    again = last_json(called(*second, "--supersede", made["claim"]))
    assert again["run"] == str(run)  # it is not finished
    assert again["claim"] != made["claim"]
    through(run, until="verify")
    assert tbseg("publish", "--run", run).returncode == 0
    assert listed()["claim"] is None
    explained = last_json(called("plan", "--dataset", "brain", "--explain", "--json"))
    assert explained["run"] == str(brain / "brain-runs" / "0002")
    assert [step["computed"] for step in explained["steps"]] == [0, 0, 0]
    assert not (brain / "brain-runs" / "0002").exists()
    assert listed()["claim"] is None
    third = last_json(called(*first))
    assert third["run"] == str(brain / "brain-runs" / "0002")
    plan = json.loads((brain / "brain-runs" / "0002" / "plan.json").read_bytes())
    assert plan["earlier"] == [str(run)]


def test_a_plan_that_fails_leaves_no_claim(brain):
    (brain / "slices" / "img_7.tif").unlink()
    assert called("plan", "--dataset", "brain").returncode == 65
    assert listed()["claim"] is None
    found = called("dataset", "check", "brain", "--json")
    assert found.returncode == 65
    (row,) = json.loads(found.stdout)["datasets"]
    assert (row["dataset"], row["exit_code"]) == ("brain", 65)


def unread(status):
    """All that a file's status tells but when it was read: st_ctime changes with anything else."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_the_run_of_a_killed_process_is_continued(signum, brain):
    flag = brain / "flag"
    process = start(flag, "linking:z001_y000", "run", "--dataset", "brain")
    wait_for(flag, process)
    refused = called("run", "--dataset", "brain")
    assert refused.returncode == 78
    assert f"process {process.pid}" in refused.stderr
    alive = called("dataset", "release", "brain")
    assert alive.returncode == 78
    assert "alive" in alive.stderr
    assert "held by tbseg run" in called("dataset", "check").stdout
    kill(process, signum)
    (tile,) = (brain / "brain-runs" / "0001" / "tiles").glob("z000_y000_x000.*.h5")
    before = unread(tile.stat())
    row = listed()
    assert (row["claim"] or {"dead": True})["dead"]
    assert (row["claim"] is None) is (signum == signal.SIGTERM)
    done = last_json(tbseg("run", "--dataset", "brain", "--json"))
    assert done["run"] == str(brain / "brain-runs" / "0001")
    assert unread(tile.stat()) == before
    assert listed()["claim"] is None


def test_release_by_hand(brain):
    runs = Runs(brain / "brain-runs", "brain")
    assert "nobody" in called("dataset", "release", "brain").stdout
    claim(runs, lambda: ("0001", ()), holder="airflow x")
    assert "airflow x" in called("dataset", "release", "brain").stdout
    assert claim_of(runs) is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "--dataset", "brain", "--tile", "10"), "tile"),
        (("run", "x", "--dataset", "brain"), "volume"),
        (("plan", "--dataset", "brain", "--update"), "update"),
        (("plan", "slices", "c.ilp"), "RUN_DIR"),
        (("run",), "RUN_DIR"),
        (("plan", "slices", "c.ilp", "run", "--holder", "x"), "--dataset"),
    ],
)
def test_contradictions_are_wrong_usage(arguments, named, brain):
    refused = called(*arguments)
    assert refused.returncode == 2
    assert named in refused.stderr
    assert not (brain / "brain-runs").exists()


def test_a_wrong_dataset_does_not_hide_the_others(brain):
    (brain / "registry" / "bad.toml").write_text("owner = 1\x1b")
    rows = {row["name"]: row for row in last_json(called("dataset", "list", "--json"))["datasets"]}
    assert rows["brain"]["error"] is None
    assert "damaged" in rows["bad"]["error"]
    assert "\x1b" not in called("dataset", "list").stdout
    found = called("dataset", "check")
    assert found.returncode == 78
    assert "brain: needs a run\n  first run" in found.stdout
    assert "bad.toml" in found.stderr


@pytest.mark.parametrize(
    "volume", ["slices", "slices/img_*.tif", "sl*/img_*.tif", "v.h5:/raw/data", "v.tif"]
)
def test_runs_lie_beside_the_volume(volume, brain):
    for name in ("v.h5", "v.tif"):
        (brain / name).touch()
    added = called("dataset", "add", "x", brain / volume, VESSELS.classifier)
    assert added.returncode == 0, added.stderr
    rows = {row["name"]: row for row in last_json(called("dataset", "list", "--json"))["datasets"]}
    assert rows["x"]["dataset"]["runs"] == str(brain / "x-runs")


@pytest.mark.parametrize(
    ("volume", "classifier"), [("nowhere", VESSELS.classifier), ("slices", "nowhere.ilp")]
)
def test_a_dataset_of_what_is_not_there_is_refused(volume, classifier, brain):
    added = called("dataset", "add", "x", brain / volume, brain / classifier)
    assert added.returncode == 65
    assert "nowhere" in added.stderr
    rows = last_json(called("dataset", "list", "--json"))["datasets"]
    assert "x" not in [row["name"] for row in rows]
