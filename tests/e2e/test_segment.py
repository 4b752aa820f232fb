"""The DAG in a real Airflow: a whole run, doing things again, and wrong input."""

import re
import subprocess
import sys

import h5py
import pytest
import tifffile

from tbseg_ops.run import RunFolder
from tests.e2e.deployment import DAG, TASKS
from tests.runs import VESSELS
from tests.synthetic import write_stack

# All on one worker of pytest-xdist: they share one Airflow.
pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]

TILES = [f"z00{z}_y000_x00{x}" for z in (0, 1) for x in (0, 1)]
ALL = range(len(TILES))


@pytest.fixture(scope="session")
def again(airflow, form, done):
    """A second run over the same folder; its id."""
    folder, _ = done
    return airflow.run(**form, run=str(folder))


def test_a_run(airflow, done):
    folder, run = done
    instances = airflow.instances(run)
    assert set(instances) == {
        *(name for name in TASKS if name not in ("calibrate", "classify")),
        *(f"classify[{i}]" for i in ALL),
        "calibrate[0]",
    }
    assert {i["state"] for i in instances.values()} == {"success"}
    assert {i["try_number"] for i in instances.values()} == {1}
    assert [instances[f"classify[{i}]"]["rendered_map_index"] for i in ALL] == TILES
    assert airflow.computed(run, "classify") == [1] * 4
    with h5py.File(folder / "segmentation.h5") as file:
        assert (file["labels"][()] == VESSELS.labels()).all()
    assert (tifffile.imread(folder / "export" / "labels.tif") == VESSELS.labels()).all()
    assert (folder / "report.html").stat().st_size > 1000


def test_its_log(airflow, done):
    folder, run = done
    log = airflow.log(run, "classify[2]")
    assert f"$ tbseg classify --run={folder} --json --workers=1 --threads=1 --batch=2" in log
    assert any(line.startswith(f"classify {TILES[2]}: ") for line in log)
    assert any(line.startswith("done: step classify, computed 1") for line in log)
    # Nothing is sent anywhere, and no log server is asked.
    assert not [line for line in log if "Could not read" in line]


def test_its_asset_event(airflow, done):
    folder, run = done
    events = airflow.api.get("assets/events", source_run_id=run)["asset_events"]
    (event,) = [event for event in events if event["source_task_id"] == "publish"]
    assert event["extra"]["run"] == str(folder)
    assert event["extra"]["file"] == event["extra"]["report"] == str(folder / "report.html")
    assert event["extra"]["result"] == str(folder / "segmentation.h5")
    assert event["extra"]["digest"] == RunFolder(folder).records("merge").get("volume").content
    asset = airflow.api.get(f"assets/{event['asset_id']}")
    assert asset["uri"] == f"tbseg://{folder.parent.name}/{folder.name}/segmentation"


def test_a_second_run_computes_nothing(airflow, again):
    assert airflow.result(again, "split")["computed"] == 0
    assert airflow.computed(again, "classify") == [0] * 4


def test_what_the_button_asks_for_computes_just_that_tile(airflow, done):
    _, run = done
    before = airflow.page(f"runs/{DAG}/{run}/api/tile?name=z000_y000_x001", airflow.api).json()
    script = airflow.page(f"runs/{DAG}/{run}/host.js", airflow.api).text
    words = dict(
        re.findall(r"(dry_run|include_downstream|only_failed|reset_dag_runs): (\w+)", script)
    )
    assert words == {"dry_run": "false", "include_downstream": "true", "only_failed": "false",
                     "reset_dag_runs": "true"}  # fmt: skip
    airflow.clear(run, [["classify", before["batch"]]])
    after = airflow.page(f"runs/{DAG}/{run}/api/tile?name=z000_y000_x001", airflow.api).json()
    assert after["attempts"] == before["attempts"] + 1
    rows = airflow.page(f"runs/{DAG}/{run}/api/layer?number=1", airflow.api).json()["tiles"]
    assert {row["attempts"] for row in rows} == {1}


@pytest.mark.slow
def test_clearing_tiles(airflow, again):
    """One after the other on the same run, since what was cleared before must not matter."""
    run = again

    # One tile: exactly that one is computed again, and what follows from it is done again.
    airflow.clear(run, [["classify", 3]])
    assert airflow.computed(run, "classify") == [int(i == 3) for i in ALL]
    assert "--batch=3 --again" in " ".join(airflow.log(run, "classify[3]"))
    tries = {name: i["try_number"] for name, i in airflow.instances(run).items()}
    again = {"classify[3]", "merge", "verify", "export", "publish"}
    assert tries == {name: 2 if name in again else 1 for name in tries}

    # Two tiles in one call.
    airflow.clear(run, [["classify", 0], ["classify", 2]])
    assert airflow.computed(run, "classify") == [int(i in (0, 2, 3)) for i in ALL]

    # All of them: only what is missing, and nothing is.
    airflow.clear(run, ["classify"])
    assert airflow.computed(run, "classify") == [0] * 4

    # One tile again, after all that.
    airflow.clear(run, [["classify", 1]])
    assert airflow.computed(run, "classify") == [int(i == 1) for i in ALL]


def test_only_tiles(airflow, form, done):
    folder, _ = done
    run = airflow.run(**form, run=str(folder), only_tiles=f"{TILES[1]}, {TILES[2]}")
    instances = airflow.instances(run)
    names = [instances[f"classify[{i}]"]["rendered_map_index"] for i in (0, 1)]
    assert names == [TILES[1], TILES[2]]
    assert "classify[2]" not in instances
    assert airflow.computed(run, "classify") == [1, 1]
    assert instances["verify"]["state"] == "success"


def test_wrong_input_fails_once_and_says_why(airflow, form, tmp_path):
    """The log shows what the command line prints."""
    slices = write_stack(tmp_path / "slices", VESSELS.raw()[..., 0])
    sorted(slices.iterdir())[17].unlink()
    wrong = form | {"volume": str(slices)}
    run = airflow.trigger(**wrong, run=str(tmp_path / "run"))
    assert airflow.wait(run) == "failed"
    instances = airflow.instances(run)
    assert (instances["plan"]["state"], instances["plan"]["try_number"]) == ("failed", 1)
    assert {i["state"] for name, i in instances.items() if name != "plan"} == {"upstream_failed"}
    arguments = ["plan", wrong["volume"], wrong["classifier"], str(tmp_path / "run")]
    shown = subprocess.run(
        [sys.executable, "-m", "tbseg_ops.cli.main", *arguments], capture_output=True, text=True
    )
    assert shown.returncode == 65
    message = shown.stderr.strip().splitlines()
    assert message[0].startswith("error: ")
    log = airflow.log(run, "plan")
    begin = log.index(message[0])
    assert log[begin : begin + len(message)] == message
    # Once, and without the traceback of Airflow's task runner.
    whole = airflow.api.get(
        f"dags/{DAG}/dagRuns/{run}/taskInstances/plan/logs/1", full_content=True
    )
    assert str(whole).count(message[0].removeprefix("error: ")) == 1
    assert not [line for line in whole["content"] if "frames" in str(line)]


def test_a_misspelt_parameter_fails_and_says_so(airflow, form, tmp_path):
    run = airflow.trigger(**form, run=str(tmp_path / "run"), tiel="8,8,8")
    assert airflow.wait(run) == "failed"
    assert airflow.instances(run)["plan"]["try_number"] == 1
    answer = airflow.api.get(
        f"dags/{DAG}/dagRuns/{run}/taskInstances/plan/logs/1", full_content=True
    )
    assert "tiel" in str(answer)
    assert not (tmp_path / "run").exists()
