"""The pages in a real browser, where one is installed: what a person sees, by mouse, by keys and by
what axe-core says of them."""

import json
from importlib.resources import files
from types import SimpleNamespace

import pytest

from tbseg_ops import steps
from tbseg_ops.view.site import Answer, page
from tests.airflow_home import ROOT
from tests.browser import PROGRAM, browser
from tests.runs import planned, stack, through
from tests.view.serving import answering, served

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

PICTURED = "document.querySelectorAll('#map image')[1].getAttribute('href')"


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of a hostile name, of whose 8 tiles 2 are classified."""
    folder = tmp_path_factory.mktemp("begun")
    run = folder / "<img src=x onerror=alert(1)>"
    planned(run, stack(folder / "slices"))
    through(run, until="split")
    steps.classify(run=run, tiles=("z000_y000_x001", "z001_y001_x001"))
    with served(run) as server:
        yield server.url


@pytest.fixture(scope="module")
def compared(finished):
    """A run beside itself."""
    with served(finished / "run", finished / "run") as server:
        yield server.url


@pytest.fixture(scope="module")
def listed():
    """The list of runs, as the plugin has it."""
    pages = ROOT / "plugins/tbseg_airflow/pages/files"
    run = {"dag": "tbseg_segment", "run": "a", "state": "success", "started": 0, "ended": 90}
    runs = [{**run, "by": "admin", "folder": "/data/run", "tiles": 8}, {**run, "state": "failed"}]

    def get(path, query):
        if path == "api/runs":
            return Answer(200, "application/json", json.dumps(runs).encode())
        return page(path or "runs.html", pages) or page(path)

    with answering(SimpleNamespace(get=get)) as server:
        yield server.url


def states(window):
    script = "[...document.querySelectorAll('#map .tile')].map((t) => t.dataset.state).sort()"
    return window.run(script)


def test_the_map_shows_which_tiles_are_there_and_a_hostile_name_is_text(window, begun):
    window.open(f"{begun}#z=5&tile=z000_y000_x001")
    window.wait("document.querySelector('#tile table')")
    text = window.run("document.body.innerText")
    assert "2 of 8 tiles classified" in text
    assert "Tile z000_y000_x001" in text
    assert states(window) == ["cut", "cut", "cut", "done"]
    assert window.run("document.querySelector('#name').textContent").startswith("<img src=x")
    assert window.run("document.querySelector('img[src=x]')") is None


def test_all_can_be_done_with_keys(window, begun):
    window.open(f"{begun}#z=5")
    window.wait("document.querySelectorAll('#map .tile').length")
    at = "document.activeElement.dataset.name"
    for _ in range(20):
        window.press("Tab")
        if window.run(at):
            break
    assert window.run(at) == "z000_y000_x000"
    window.press("ArrowRight", "Enter")
    window.wait("document.querySelector('#tile h2').textContent === 'Tile z000_y000_x001'")
    window.press("PageDown")
    window.wait("document.querySelector('#map [data-name=z001_y001_x001]')")
    window.press("x")
    window.wait("document.querySelector('#at-text').value.startsWith('x = ')")
    window.wait("document.querySelector('#map [data-name=z000_y001_x000]')")
    window.wait("document.querySelectorAll('#layers button').length === 2")
    assert states(window) == ["cut"] * 4
    focused = "document.activeElement.closest('#map') !== null"
    assert window.run(focused), "who is on the map stays there"


def test_the_volume_in_3d_fills_the_window(window, compared):
    window.open(f"{compared}volume", width=1200, height=800)
    window.wait("document.querySelector('#frame').src")
    width, height = window.run(
        "(({ width, height }) => [width, height])"
        "(document.querySelector('#frame').getBoundingClientRect())"
    )
    assert width > 1100
    assert height > 700


PAGES = {
    "a run that goes on": ("begun", "#z=5", PICTURED),
    "a tile": ("begun", "#y=5&tile=z000_y000_x001", "document.querySelector('#tile table')"),
    "two runs": ("compared", "#z=5", "document.querySelector('#comparison table')"),
    "3D": ("compared", "volume", "document.querySelector('#frame').src"),
    "report": ("compared", "report", "document.querySelector('h1')"),
    "runs": ("listed", "", "document.querySelectorAll('tbody tr').length"),
}


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_in_light_and_dark(window, request, name):
    site, path, ready = PAGES[name]
    script = (files("axe_core_python") / "axe.min.js").read_text()
    url = request.getfixturevalue(site) + path
    for dark in (False, True):
        window.open(url, dark=dark)
        window.wait(ready)
        window.run(f"{script}; 0")
        # Neuroglancer's own page, in its frame, is not ours.
        found = window.run("axe.run(document, {iframes: false}).then((r) => r.violations)")
        assert window.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []
