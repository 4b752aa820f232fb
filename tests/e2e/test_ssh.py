"""The DAG over hosts by SSH, in a real Airflow: whole runs, calling off, a killed triggerer."""

import json
import signal
import time

import psutil
import pytest

from tbseg_ops.run import RunFolder
from tests.e2e.deployment import DAG
from tests.e2e.test_deaths import component
from tests.runs import datasets, same
from tests.ssh.rack import Rack

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]

HERE = ("plan", "forecast", "approve", "verify", "publish")  # where Airflow is, in any case


@pytest.fixture(scope="module")
def rack(airflow, tmp_path_factory):
    """Two hosts that the running Airflow knows by Connections and the Variable."""
    made = Rack(tmp_path_factory.mktemp("racks") / "rack", 2, seconds=1)
    made.start()
    for host in made.hosts:
        values = json.loads(host.connection())
        airflow.api.post("connections", {"connection_id": host.conn_id, **values})
    value = json.dumps(made.settings(lease=40))
    airflow.api.post("variables", {"key": "tbseg_ssh", "value": value})
    yield made
    made.end()


@pytest.fixture(scope="module")
def local(finished):
    """The arrays of a run without Airflow: no tiling changes a byte of them."""
    return datasets(finished / "run" / "segmentation.h5")


@pytest.fixture(scope="module")
def over_hosts(airflow, form, rack, tmp_path_factory):
    """A run of four tiles over two hosts: its form with the folder, and its id."""
    folder = tmp_path_factory.mktemp("hosts") / "run"
    conf = {**form, "run": str(folder), "backend": "ssh"}
    return folder, conf, airflow.run(**conf)


def test_a_run_over_two_hosts(airflow, over_hosts, local):
    folder, _, run = over_hosts
    assert airflow.computed(run, "classify") == [1] * 4
    hosts = {airflow.result(run, "classify", index)["host"][-7:] for index in range(4)}
    assert hosts == {"(host1)", "(host2)"}
    log = airflow.log(run, "classify[3]")
    assert any(line.startswith("started on ") for line in log)
    assert any(line.startswith("classify z001_y000_x001: computed") for line in log)
    assert any(line.startswith("done: step classify, computed 1") for line in log)
    assert same(datasets(folder / "segmentation.h5"), local)


@pytest.mark.slow
def test_one_tile_again(airflow, over_hosts):
    folder, _, run = over_hosts
    airflow.clear(run, [["classify", 2]])
    records = RunFolder(folder).records("classify")
    attempts = {name: records.get(name).attempts for name in records.names()}
    assert attempts == {name: 2 if name == "z001_y000_x000" else 1 for name in attempts}


@pytest.fixture
def two_slots(airflow):
    """The pool of the hosts, with fewer slots than there are places on them."""
    path = "pools/tbseg_ssh"
    before = airflow.api.get(path)
    names = ("name", "slots", "description", "include_deferred")
    whole = {name: before[name] for name in names}
    assert (before["slots"], before["include_deferred"]) == (512, True)
    airflow.api.patch(path, {**whole, "slots": 2})
    yield
    airflow.api.patch(path, whole)


@pytest.mark.slow
def test_a_full_pool_bounds_the_jobs_and_blocks_nobody(
    airflow, form, rack, local, tmp_path, two_slots
):
    """An instance whose job has ended needs a slot again: it gets one before its siblings."""
    run = airflow.trigger(**form, run=str(tmp_path / "run"), backend="ssh")
    busy, end = set(), time.monotonic() + 500
    while (states := airflow.states(run)).get("publish") != "success":
        assert time.monotonic() < end, states
        at_once = [s for n, s in states.items() if n.startswith(("split", "classify["))]
        busy.add(sum(state in ("queued", "running", "deferred") for state in at_once))
        time.sleep(0.1)
    assert max(busy) == 2
    instances = airflow.instances(run)
    others = {name: i["pool"] for name, i in instances.items() if i["pool"] != "tbseg_ssh"}
    assert others == dict.fromkeys(HERE, "default_pool")
    assert {i["try_number"] for i in instances.values()} == {1}
    assert airflow.computed(run, "classify") == [1] * 4
    assert same(datasets(tmp_path / "run" / "segmentation.h5"), local)


@pytest.mark.slow
def test_wrong_input_is_told_as_on_this_machine(airflow, over_hosts):
    """Refused at once, with the message of the host, and not tried again."""
    _, conf, _ = over_hosts
    run = airflow.trigger(**conf, only_tiles="z000_y000_x007")
    assert airflow.wait(run) == "failed"
    instance = airflow.instances(run)["split"]
    assert (instance["state"], instance["try_number"]) == ("failed", 1)
    assert any("no tile of that name" in line for line in airflow.log(run, "split"))


@pytest.mark.slow
def test_a_task_that_is_marked_failed_ends_on_its_host(airflow, form, rack, tmp_path):
    conf = {**form, "tile": "20,64,64"}  # two tiles
    run = airflow.trigger(**conf, run=str(tmp_path / "run"), backend="ssh")
    airflow.until(run, "classify[0]", "deferred")
    end = time.monotonic() + 60
    while not (found := at_work("classify", "--batch=0")):
        assert time.monotonic() < end
        time.sleep(0.05)
    start = time.monotonic()
    airflow.api.patch(
        f"dags/{DAG}/dagRuns/{run}/taskInstances/classify/0",
        {"new_state": "failed"},
    )
    while any(process.is_running() and process.status() != "zombie" for process in found):
        assert time.monotonic() - start < 30
        time.sleep(0.1)
    assert airflow.wait(run) == "failed"
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.slow
def test_the_triggerer_is_killed(airflow, form, rack, local, tmp_path):
    """Its jobs go on, the next one finds them: no tile is computed twice."""
    eight = {**form, "tile": "20,24,30"}
    run = airflow.trigger(**eight, run=str(tmp_path / "run"), backend="ssh")
    airflow.until(run, "classify[0]", "deferred")
    time.sleep(2)
    triggerer = component(airflow.service, "triggerer")
    for process in [*triggerer.children(recursive=True), triggerer]:
        process.send_signal(signal.SIGKILL)
    assert airflow.wait(run, 300) == "success"
    assert airflow.computed(run, "classify") == [1] * 8
    assert same(datasets(tmp_path / "run" / "segmentation.h5"), local)


def at_work(*words):
    """The processes of jobs whose arguments hold all words."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if all(word in arguments for word in words):
            found.append(process)
    return found
