"""The pages of runs in Airflow: every route, as nobody; which folders can be seen at all."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.airflow_home import ROOT

RUN = "manual__2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def app():
    from tbseg_airflow.pages.app import make_app

    return make_app()


def every_route(app):
    """Each route with each of its methods, its parameters filled in."""
    for route in app.routes:
        path = route.path.replace("{path:path}", "api/run").replace("{what:path}", "options")
        path = path.format(dag_id="tbseg_segment", run_id=RUN, viewer="3d")
        for method in route.methods:
            yield method, path


def test_every_route_is_closed_to_who_is_not_logged_in(app):
    from fastapi.testclient import TestClient

    routes = list(every_route(app))
    assert len(routes) >= 6
    client = TestClient(app)
    more = ["/docs", "/redoc", "/openapi.json", "/page.css", "/host.js", "/v/3d/", "/../x"]
    for method, path in [*routes, *(("GET", path) for path in more)]:
        assert client.request(method, path).status_code == 401, (method, path)


def test_no_route_can_change_anything(app):
    changing = [(m, p) for m, p in every_route(app) if m not in ("GET", "HEAD")]
    assert changing == [
        ("POST", f"/runs/tbseg_segment/{RUN}/api/run"),  # told, and not listened to
        *(("POST", f"/look/api/{what}") for what in ("dataset", "volume", "classes")),
    ]


def test_who_names_a_path_or_has_something_computed_must_have_the_right_to_start_a_run(app):
    from tbseg_airflow.pages.app import _may_see_all, _may_start

    rights = {
        (method, route.path): [d.dependency for d in route.dependencies]
        for route in app.routes
        for method in route.methods
        if route.path.startswith("/look/")
    }
    starting = {key for key, asked in rights.items() if _may_start.dependency in asked}
    assert starting == {
        ("GET", "/look/api/folder"),
        ("POST", "/look/api/volume"),
        ("POST", "/look/api/classes"),
    }
    others = {key: asked for key, asked in rights.items() if key not in starting}
    assert ("POST", "/look/api/dataset") in others
    for key, asked in others.items():
        assert _may_see_all.dependency in asked, key


@pytest.fixture
def client(app, monkeypatch):
    """A person with all rights; what the page does is done by a double."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.testclient import TestClient
    from tbseg_airflow.pages.app import _may_see_all, _may_start

    from tbseg_ops.look import desk

    code = "open('answer.json', 'w').write('{\"answer\": ' + open('request.json').read() + '}')"
    monkeypatch.setattr(desk, "_CHILD", (sys.executable, "-c", code))
    anybody = SimpleNamespace(get_id=lambda: "ann")
    free = {_may_see_all.dependency: lambda: None, _may_start.dependency: lambda: None}
    monkeypatch.setattr(app, "dependency_overrides", {get_user: lambda: anybody, **free})
    return TestClient(app)


def test_a_look_is_answered_line_by_line(client):
    texts = {"volume": "/data/v", "channel": "1"}
    with client.stream("POST", "/look/api/volume", json={"texts": texts}) as answer:
        *_, line = answer.iter_lines()
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    subject = json.loads(line)["answer"]["subject"]
    assert (subject["volume"], subject["channel"]) == ("/data/v", 1)


@pytest.mark.parametrize(
    "headers",
    [
        *({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}),
        {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", ["dataset", "volume", "classes"])
def test_a_page_of_another_origin_starts_nothing(client, path, headers):
    body = json.dumps({"texts": {"volume": "/data/v"}})
    assert client.post(f"/look/api/{path}", content=body, headers=headers).status_code == 403


def test_what_is_too_long_or_not_there(client):
    long = json.dumps({"texts": {"volume": "/" + "v" * 100_000}})
    json_type = {"Content-Type": "application/json"}
    assert client.post("/look/api/volume", content=long, headers=json_type).status_code == 413
    for path in ("api/command", "api/nothing", "api/volume", "x.js"):
        assert client.get(f"/look/{path}").status_code in (404, 405), path
    for path in ("", "look.js", "start.js", "fill.js", "page.css", "api/options", "api/datasets"):
        assert client.get(f"/look/{path}").status_code == 200, path
    assert b"Fill in the form" in client.get("/look/start.js").content


def test_each_route_of_a_run_asks_for_the_right_to_see_runs_of_that_dag(app):
    from tbseg_airflow.pages.app import _may_see, _may_see_all

    for route in app.routes:
        asked = [d.dependency for d in route.dependencies]
        if "{run_id}" in route.path:
            assert _may_see.dependency in asked, route.path
        elif route.path.startswith("/api"):
            assert _may_see_all.dependency in asked, route.path


def test_which_folders_can_be_seen(tmp_path, monkeypatch, finished):
    from tbseg_airflow.pages import runs

    from tbseg_ops.errors import ConfigError

    plans = {"a": {"folder": str(finished / "run"), "tiles": 8}}
    monkeypatch.setattr(
        runs, "_plans", lambda session, ids: {i: plans[i] for i in ids if i in plans}
    )
    assert runs.folder_of(None, "tbseg_segment", "a").path == finished / "run"
    for dag, run in (("tbseg_segment", "b"), ("other", "a"), ("tbseg_segment", "../a")):
        with pytest.raises(ConfigError, match="nothing to be seen yet"):
            runs.folder_of(None, dag, run)
    monkeypatch.setenv("TBSEG_ROOTS", str(tmp_path))
    with pytest.raises(ConfigError, match="outside of the folders"):
        runs.folder_of(None, "tbseg_segment", "a")


def test_a_run_is_compared_with_runs_of_its_own_dag_only(app, finished, monkeypatch):
    from tbseg_airflow.pages import app as module

    from tbseg_ops.run import RunFolder

    asked = []

    def folder_of(session, dag, run):
        asked.append((dag, run))
        return RunFolder(finished / "run")

    monkeypatch.setattr(module, "folder_of", folder_of)
    (of_run,) = (r.endpoint for r in app.routes if r.name == "of_run")
    request = SimpleNamespace(query_params={"with": "b"})
    answer = of_run("tbseg_segment", "a", "api/comparison", request, None)
    assert (answer.status_code, json.loads(answer.body)["different"]) == (200, 0)
    assert asked == [("tbseg_segment", "a"), ("tbseg_segment", "b")]


def test_views_are_kept_and_the_longest_unused_forgotten(finished, monkeypatch):
    from tbseg_airflow.pages import sites

    from tbseg_ops.run import RunFolder

    monkeypatch.setattr(sites, "Site", lambda folder: object())
    monkeypatch.setattr(sites, "_MOST", 2)
    kept = sites.Sites()
    a, b, c = (RunFolder(finished / name) for name in "abc")
    first = kept.of(a)
    kept.of(b)
    assert kept.of(a) is first
    kept.of(c)
    assert kept.of(a) is first


def test_the_plugin_costs_a_task_nothing():
    code = (
        "import sys; sys.path.insert(0, 'plugins'); import tbseg_view\n"
        "print([m for m in ('numpy', 'h5py', 'tbseg_ops.run', 'tbseg_airflow.pages.app')"
        " if m in sys.modules])"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
