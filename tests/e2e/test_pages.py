"""The pages in a real Airflow: log-in and rights, links, and the form that is filled in."""

import json
import re
from urllib.parse import unquote

import httpx
import pytest

from scripts.api import Api, ApiError
from tbseg_ops.run import RunFolder
from tests.browser import PROGRAM, browser
from tests.e2e.deployment import DAG

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def viewer(airflow):
    """A person who may look and nothing else, logged in."""
    password = json.loads((airflow.home.state / "passwords.json").read_text())["vera"]
    return Api(airflow.service.url, "vera", password)


def test_nobody_sees_anything_and_a_viewer_sees_runs(airflow, done, viewer):
    folder, run = done
    paths = ["", "api/runs", "runs.js", "page.css", *(
        f"runs/{DAG}/{run}/{p}"
        for p in ("", "volume", "host.js", "api/run", "api/layer?number=0", "data/labels/.zattrs",
                  "data/labels/0/0/0/0", "v/3d/", "report", "api/scene")
    )]  # fmt: skip
    for path in paths:
        assert airflow.page(path).status_code == 401, path
        assert airflow.page(path, viewer).status_code == 200, path
    (mine,) = [r for r in airflow.page("api/runs", viewer).json() if r["run"] == run]
    assert (mine["folder"], mine["state"], mine["tiles"]) == (str(folder), "success", 4)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}", run), "people type it"
    assert (mine["report"], mine["result"]) == (True, str(folder / "segmentation.h5"))
    assert mine["digest"] == RunFolder(folder).plan.classifier.digest


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
        assert airflow.page(path.removeprefix("/tbseg/"), viewer).status_code == 200


OTHERS = [
    *("{dag}/..%2f..%2fx/api/run", "{dag}/nothing/api/run", "nothing/{run}/api/run"),
    *("{dag}/{run}/../../../etc/passwd", "{dag}/{run}/plan.json"),
]


@pytest.mark.parametrize("path", OTHERS)
def test_other_things_are_not_served(airflow, done, viewer, path):
    path = path.format(dag=DAG, run=done[1])
    assert airflow.page(f"runs/{path}", viewer).status_code in (403, 404)


def test_a_viewer_cannot_have_tiles_computed_again(airflow, done, viewer):
    _, run = done
    body = {"dry_run": False, "dag_run_id": run, "task_ids": [["classify", 0]]}
    with pytest.raises(ApiError) as refused:
        viewer.post(f"dags/{DAG}/clearTaskInstances", body)
    assert refused.value.status == 403


def test_before_a_run_a_viewer_sees_datasets_and_names_no_path(airflow, form, viewer):
    texts = {name: form[name] for name in ("volume", "classifier")}

    def post(path, body, api=None):
        headers = {} if api is None else {"Authorization": api._client.headers["Authorization"]}
        address = f"{airflow.service.url}/tbseg/look/api/{path}"
        return httpx.post(address, json=body, headers=headers, trust_env=False, timeout=120)

    for path in ("look/", "look/look.js", "look/start.js", "look/api/datasets"):
        assert airflow.page(path).status_code == 401, path
        assert airflow.page(path, viewer).status_code == 200, path
    assert airflow.page("look/api/folder", viewer).status_code == 403
    assert post("dataset", {"dataset": "none"}, viewer).status_code == 404  # allowed to ask
    box = {"lo": [0, 0, 0], "hi": [2, 3, 4]}
    for path, body in (("volume", {}), ("classes", {"box": box})):
        assert post(path, {"texts": texts, **body}).status_code == 401
        assert post(path, {"texts": texts, **body}, viewer).status_code == 403
        answer = post(path, {"texts": texts, **body}, airflow.api)
        assert "answer" in json.loads(answer.text.splitlines()[-1]), answer.text


@pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")
def test_run_this_fills_in_airflows_own_form(airflow, form, tmp_path):
    url, inner = airflow.service.url, "document.querySelector('iframe').contentDocument"
    values = {"volume": form["volume"], "classifier": form["classifier"]}
    more = {"channel": "0", "order": "reversed"}
    token = airflow.api._client.headers["Authorization"].removeprefix("Bearer ")
    with browser(tmp_path / "profile") as page:
        page.ask("Network.setCookie", name="_token", value=token, url=url, path="/")
        page.open(f"{url}/plugin/tbseg-look")
        page.wait(f"{inner}.getElementById('order')", 60)
        for name, value in {**values, **more}.items():
            page.run(f"{inner}.getElementById({name!r}).value = {value!r}")
        page.run(f"{inner}.getElementById('look').click()")
        page.wait(f"{inner}.querySelector('#run button')", 60)
        page.run(f"{inner}.querySelector('#run button').click()")
        page.wait("document.getElementById('tbseg-left')", 60)
        left = page.run("document.getElementById('tbseg-left').textContent")
        page.run("document.querySelector('[data-testid=trigger-dag-submit]').click()")
        page.wait("location.pathname.includes('/runs/')", 60)
        run = page.run("decodeURIComponent(location.pathname.split('/runs/')[1])")
    conf = airflow.api.get(f"dags/{DAG}/dagRuns/{run}")["conf"]
    assert {name: conf[name] for name in values} == values
    assert left == "Please fill in yourself:\nchannel: 0\norder: reversed"


def test_the_views_are_in_airflow(airflow):
    views = [v for p in airflow.api.get("plugins")["plugins"] for v in p["external_views"]]
    assert {v["destination"] for v in views if "/tbseg/" in v["href"]} == {"nav", "dag_run"}
