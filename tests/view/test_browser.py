"""The pages in a real browser, where one is installed: what a person sees, by mouse, by keys and by
what axe-core says of them."""

import time
from importlib.resources import files
from types import SimpleNamespace

import pytest

from tbseg_ops import steps
from tbseg_ops.view.site import as_json, page
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
    run = {
        "dag": "tbseg_segment",
        "by": "admin",
        "started": 0,
        "tiles": 8,
        "folder": "/data/<b>run",
    }
    run |= {"classifier": "/data/brain.ilp", "digest": "0123456789abcdef", "report": False}
    run |= {"voxels": 9_000_000, "changes": None, "result": None, "folder": "/data/<b>run"}
    whole = {"state": "success", "ended": 90, "report": True, "result": "/data/run/x.h5"}
    left = {"low": 6480, "expected": 7560, "high": 9360}
    stands = {"done": 3, "total": 8, "counted": True, "speed": 3_400_000, "left": left}
    stands |= {"to_the_end": True, "latest": time.time()}
    silent = stands | {"latest": time.time() - 86_400}
    trained = ["the classifier was trained again"]
    runs = [
        {**run, "run": "a", "state": "running", "dataset": "mouse 7", "standing": stands},
        {**run, "run": "b", "state": "running", "standing": silent, "changes": trained},
        {**run, "run": "c", **whole, "changes": []},
        {**run, "run": "d", "state": "failed", "error": "the plan was altered"},
        {"dag": "tbseg_segment", "run": "e", "state": "queued", "by": None, "started": None},
    ]

    def get(path, query):
        if path == "api/runs":
            return as_json(runs)
        if path == "look/api/datasets":
            return as_json(["mouse 7", "<b>rat"])
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


def test_a_box_that_is_drawn_with_shift_chooses_what_it_touches(window, begun):
    window.open(f"{begun}#z=5")
    window.wait("document.querySelectorAll('#map .tile').length")
    chosen = "[...document.querySelectorAll('#map .selected')].map((t) => t.dataset.name).sort()"
    row = ["z000_y000_x000", "z000_y000_x001"]
    window.drag("[data-name=z000_y000_x000]", "[data-name=z000_y000_x001]", shift=True)
    assert window.run(chosen) == row
    window.drag("[data-name=z000_y000_x000]", "[data-name=z000_y001_x001]", shift=True)
    assert len(window.run(chosen)) == 4
    window.drag("[data-name=z000_y000_x000]", "[data-name=z000_y000_x000]")  # a click: it alone
    assert window.run(chosen) == []
    window.run("document.querySelector('[data-name=z000_y000_x000]').focus()")
    window.press("ArrowRight", shift=True)
    assert window.run(chosen) == row, "the same by keys"
    assert window.run("document.querySelector('.band').getAttribute('display')") == "none"


def test_the_volume_in_3d_fills_the_window(window, compared):
    window.open(f"{compared}volume", width=1200, height=800)
    window.wait("document.querySelector('#frame').src")
    width, height = window.run(
        "(({ width, height }) => [width, height])"
        "(document.querySelector('#frame').getBoundingClientRect())"
    )
    assert width > 1100
    assert height > 700


def test_the_list_of_runs_tells_how_each_stands(window, listed):
    window.open(listed)
    window.wait("document.querySelectorAll('#runs tbody tr').length === 5")
    rows = window.run("[...document.querySelectorAll('#runs tbody tr')].map((r) => r.innerText)")
    assert "3 of 8\n3.4 million voxels/s · 2.1 h left (1.8 h to 2.6 h)" in rows[0]
    assert "no run before" in rows[0]
    assert "no tile for 24.0 h" in rows[1]
    assert "the classifier was trained again" in rows[1]
    assert "100 thousand voxels/s" in rows[2]
    assert "the plan was altered" in rows[3]
    assert "nothing to be seen yet" in rows[4]
    datasets = window.run("document.getElementById('datasets').textContent")
    assert datasets == "Datasets without a run in this list: <b>rat"
    names = "[...document.querySelectorAll('#runs tr td:first-child')].map((c) => c.innerText)"
    assert window.run(names)[1].startswith("<b>run"), "a name is text"
    links = "[...document.querySelectorAll('#runs tr:nth-child(3) a')].map((a) => a.textContent)"
    assert window.run(links) == ["<b>run", "c", "3D", "report"]
    window.run("const w = document.getElementById('words'); w.value = 'MOUSE run';"
               " w.dispatchEvent(new Event('input'))")  # fmt: skip
    assert len(window.run(names)) == 1
    focused = "document.activeElement.textContent"
    window.run("document.querySelector('#runs a').focus()")
    window.run("document.getElementById('words').dispatchEvent(new Event('input'))")
    assert window.run(focused) == "mouse 7", "news leaves who uses keys alone"
    window.open(listed, width=390)
    window.wait("document.querySelectorAll('#runs tbody tr').length === 5")
    assert window.run("document.documentElement.scrollWidth <= innerWidth")
    assert window.run("document.querySelector('main').scrollWidth <= innerWidth")


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
