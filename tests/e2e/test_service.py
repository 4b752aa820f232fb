"""Starting, finding and stopping a deployment, as `make up`, `make demo` and `make down` do."""

import fcntl
import json
import os
import socket
import threading

import h5py
import pytest

from scripts import demo
from scripts.home import Home
from scripts.service import down, find, free_port
from scripts.supervise import LONGEST_PAUSE, MOST_RESTARTS, STAYS_UP, Starts, Supervisor
from tests.e2e.deployment import command
from tests.reference_sets import ReferenceSet

NUCLEI = ReferenceSet("nuclei")


@pytest.mark.xdist_group("airflow")
def test_a_second_start_finds_the_first(airflow):
    before = airflow.service
    text = command(airflow.home, "up")
    assert airflow.service == before
    assert before.url in text
    assert airflow.home.password() in text
    assert text == command(airflow.home, "status")


@pytest.mark.xdist_group("airflow")
def test_it_answers_on_this_machine_only(airflow):
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", airflow.service.port), timeout=5)


@pytest.mark.xdist_group("airflow")
def test_all_state_is_below_the_state_folder(airflow):
    made = {path.name for path in airflow.home.path.iterdir()}
    assert made == {"airflow.cfg", "config", "dags", "plugins", "tests", ".airflow"}


def test_passwords_that_are_just_being_written_are_waited_for(tmp_path):
    home = Home(tmp_path)
    home.prepare()
    path = home.state / "passwords.json"
    written = path.read_text()
    path.write_text("")
    later = threading.Timer(0.3, path.write_text, [written])
    later.start()
    assert home.password() == json.loads(written)["admin"]
    later.join()


def test_what_does_not_run_is_not_found(tmp_path):
    home = Home(tmp_path)
    assert find(home) is None
    assert down(home) is False
    assert "not running" in command(home, "status")


def test_a_stale_lock_file_is_no_deployment(tmp_path):
    """It names a living process, which must not be taken for ours, let alone be ended."""
    home = Home(tmp_path)
    home.prepare()
    home.lock.write_text(json.dumps({"pid": os.getpid(), "port": 1}))
    assert find(home) is None
    assert down(home) is False


def test_a_held_lock_is_a_deployment(tmp_path):
    home = Home(tmp_path)
    home.prepare()
    home.lock.write_text(json.dumps({"pid": 12345, "port": 8099}))
    with home.lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        service = find(home)
    assert service is not None
    assert (service.pid, service.url) == (12345, "http://127.0.0.1:8099")


def test_a_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_slices_of_the_demo(tmp_path):
    folder = tmp_path / "nuclei" / "slices"
    demo.write_slices(NUCLEI.volume, folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(first) == [f"nuclei_{z:03d}.tif" for z in range(60)]
    demo.write_slices(NUCLEI.volume, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first
    (folder / "nuclei_000.tif").write_bytes(b"kept")
    demo.write_slices(NUCLEI.volume, folder)
    assert (folder / "nuclei_000.tif").read_bytes() == b"kept"


def test_score_of_the_demo(tmp_path):
    labels = NUCLEI.folder / "labels.h5"
    with h5py.File(labels) as file:
        ours = file["exported_data"][..., 0]
    ours[3, 4, 5] += 1
    ours[59, 255, 255] -= 1
    with h5py.File(tmp_path / "segmentation.h5", "w") as file:
        file["labels"] = ours
    assert demo.differing_voxels(tmp_path / "segmentation.h5", labels) == (2, 60 * 256 * 256)


def test_what_was_never_ready_is_given_up_and_what_was_is_not(tmp_path):
    """A database that is away for a while ends all components again and again."""
    home = Home(tmp_path)
    home.prepare()
    supervisor, starts, now, pauses = Supervisor(home, 1), Starts(), 0.0, []
    for _ in range(MOST_RESTARTS + 1):
        assert not supervisor.is_hopeless(starts)
        starts.begun(now)
        starts.ended(now + 3)
        pauses.append(starts.due - now - 3)
        now = starts.due
    assert supervisor.is_hopeless(starts)
    home.ready.touch()
    assert not supervisor.is_hopeless(starts)
    assert pauses == [1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE]
    starts.begun(now)
    starts.ended(now + STAYS_UP)
    assert starts.due == now + STAYS_UP + 1  # it has worked again
