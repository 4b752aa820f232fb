"""The pages in a real Airflow: log-in and rights, and what the button for a tile asks for."""

import json
import re
from urllib.parse import unquote

import httpx
import pytest

from scripts.api import Api, ApiError
from tests.e2e.deployment import DAG

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def done(airflow, form, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "run"
    return folder, airflow.run(**form, run=str(folder))


@pytest.fixture(scope="module")
def viewer(airflow):
    """A person who may look and nothing else, logged in."""
    password = json.loads((airflow.home.state / "passwords.json").read_text())["vera"]
    return Api(airflow.service.url, "vera", password)


def asked(airflow, path, api=None):
    headers = {} if api is None else {"Authorization": api._client.headers["Authorization"]}
    address = f"{airflow.service.url}/tbseg/{path}"
    return httpx.get(address, headers=headers, trust_env=False, timeout=30)


def test_nobody_sees_anything_and_a_viewer_sees_runs(airflow, done, viewer):
    folder, run = done
    paths = ["", "api/runs", "runs.js", "page.css", *(
        f"runs/{DAG}/{run}/{p}"
        for p in ("", "volume", "host.js", "api/run", "api/layer?number=0", "data/labels/.zattrs",
                  "data/labels/0/0/0/0", "v/3d/", "report", "api/scene")
    )]  # fmt: skip
    for path in paths:
        assert asked(airflow, path).status_code == 401, path
        assert asked(airflow, path, viewer).status_code == 200, path
    (mine,) = [r for r in asked(airflow, "api/runs", viewer).json() if r["run"] == run]
    assert (mine["folder"], mine["state"], mine["tiles"]) == (str(folder), "success", 8)


def test_pages_of_tasks_link_to_the_run_its_tiles_and_the_report(airflow, done, viewer):
    _, run = done

    def links(task, map_index=-1):
        path = f"dags/{DAG}/dagRuns/{run}/taskInstances/{task}/links"
        found = viewer.get(path, map_index=map_index)["extra_links"]
        return {name: unquote(url) for name, url in found.items() if url is not None}

    tiles = f"/dags/{DAG}/runs/{run}/plugin/tbseg-tiles"
    report = f"/tbseg/runs/{DAG}/{run}/report"
    for task in ("plan", "approve", "publish", "merge", "export"):
        assert links(task) == {"Tiles of the run": tiles, "Report": report}, task
    assert links("calibrate", 0).keys() == {"Tiles of the run", "Report"}
    one = links("classify", 3)["This tile"]
    name = airflow.instances(run)["classify[3]"]["rendered_map_index"]
    assert re.fullmatch(rf"{re.escape(f'/tbseg/runs/{DAG}/{run}/')}#z=\d+&tile={name}", one)
    for path in (report, one):
        assert asked(airflow, path.removeprefix("/tbseg/"), viewer).status_code == 200


OTHERS = [
    *("{dag}/..%2f..%2fx/api/run", "{dag}/nothing/api/run", "nothing/{run}/api/run"),
    *("{dag}/{run}/../../../etc/passwd", "{dag}/{run}/plan.json"),
]


@pytest.mark.parametrize("path", OTHERS)
def test_other_things_are_not_served(airflow, done, viewer, path):
    path = path.format(dag=DAG, run=done[1])
    assert asked(airflow, f"runs/{path}", viewer).status_code in (403, 404)


def test_a_viewer_cannot_have_tiles_computed_again(airflow, done, viewer):
    _, run = done
    body = {"dry_run": False, "dag_run_id": run, "task_ids": [["classify", 0]]}
    with pytest.raises(ApiError) as refused:
        viewer.post(f"dags/{DAG}/clearTaskInstances", body)
    assert refused.value.status == 403


def test_what_the_button_asks_for_computes_just_that_tile(airflow, done):
    _, run = done
    before = asked(airflow, f"runs/{DAG}/{run}/api/tile?name=z000_y000_x001", airflow.api).json()
    script = asked(airflow, f"runs/{DAG}/{run}/host.js", airflow.api).text
    words = dict(
        re.findall(r"(dry_run|include_downstream|only_failed|reset_dag_runs): (\w+)", script)
    )
    assert words == {"dry_run": "false", "include_downstream": "true", "only_failed": "false",
                     "reset_dag_runs": "true"}  # fmt: skip
    airflow.clear(run, [["classify", before["batch"]]])
    after = asked(airflow, f"runs/{DAG}/{run}/api/tile?name=z000_y000_x001", airflow.api).json()
    assert after["attempts"] == before["attempts"] + 1
    rows = asked(airflow, f"runs/{DAG}/{run}/api/layer?number=1", airflow.api).json()["tiles"]
    assert {row["attempts"] for row in rows} == {1}


def test_the_views_are_in_airflow(airflow):
    views = [v for p in airflow.api.get("plugins")["plugins"] for v in p["external_views"]]
    assert {v["destination"] for v in views if "/tbseg/" in v["href"]} == {"nav", "dag_run"}
