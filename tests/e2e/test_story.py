"""All that a person does, in a browser, from the log-in to a tile that is computed again."""

import json
import time

import numpy as np
import pytest

from tbseg_ops.run import RunFolder
from tests.browser import PROGRAM, browser
from tests.e2e.deployment import DAG
from tests.reference_sets import ReferenceSet
from tests.synthetic import write_stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("airflow"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed"),
]

NUCLEI = ReferenceSet("nuclei")
INNER = "document.querySelector('iframe').contentDocument"
STATES = f"[...{INNER}.querySelectorAll('#map .tile')].map((t) => t.dataset.state)"


class Person:
    """Who types and clicks; ``folder`` takes a picture of what was seen at each place."""

    def __init__(self, window, folder):
        self.window, self.folder = window, folder

    def type(self, field, text):
        """Into an input that is empty, or whose text goes."""
        self.window.run(f"{field}.focus(); {field}.select?.()")
        self.window.ask("Input.insertText", text=str(text))

    def click(self, element):
        self.window.wait(element, 60)
        self.window.run(f"((it) => {{ it.focus(); it.click(); }})({element})")

    def see(self, name):
        self.window.picture(self.folder / f"{name}.png")


@pytest.fixture
def person(airflow, tmp_path):
    """Logged in by the form of Airflow."""
    password = json.loads((airflow.home.state / "passwords.json").read_text())["admin"]
    with browser(tmp_path / "profile", webgl=True) as window:
        person = Person(window, tmp_path)
        window.open(airflow.service.url)
        window.wait("document.querySelector('input[name=password]')", 60)
        person.type("document.querySelector('input[name=username]')", "admin")
        person.type("document.querySelector('input[name=password]')", password)
        window.press("Enter")
        window.wait("document.body.innerText.includes('Dags')", 60)
        yield person


def test_from_the_log_in_to_a_tile_that_is_computed_again(airflow, person, tmp_path):
    window, url = person.window, airflow.service.url
    volume = np.concatenate([NUCLEI.raw()[..., 0]] * 8)  # half a minute of work
    slices = write_stack(tmp_path / "mouse-7", volume)

    # Before the run: the volume, whether it fits, the classes of a box.
    window.open(f"{url}/plugin/tbseg-look")
    window.wait(f"{INNER}.getElementById('order')", 60)
    person.type(f"{INNER}.getElementById('volume')", slices)
    person.type(f"{INNER}.getElementById('classifier')", NUCLEI.classifier)
    person.click(f"{INNER}.getElementById('look')")
    window.wait(f"{INNER}.querySelector('#run button')", 60)
    person.click(f"{INNER}.getElementById('compute')")
    window.wait(f"!{INNER}.getElementById('result').hidden", 120)
    assert "nucleus" in window.run(f"{INNER}.getElementById('shares').innerText")
    person.see("preview")

    # The form, filled in; run folder and small tiles are typed.
    person.click(f"{INNER}.querySelector('#run button')")
    field = "document.querySelector('[name={}]')"
    window.wait(field.format("element_run"), 60)
    person.type(field.format("element_run"), tmp_path / "run")
    buttons = "[...document.querySelectorAll('button')]"
    person.click(f"{buttons}.find((b) => b.textContent.startsWith('Tiles:'))")
    time.sleep(1)  # the section opens
    person.type(field.format("element_tile"), "60,64,64")
    person.see("form")
    window.run("document.querySelector('[data-testid=trigger-dag-submit]').click()")
    window.wait("location.pathname.includes('/runs/')", 60)
    run = window.run("decodeURIComponent(location.pathname.split('/runs/')[1].split('/')[0])")

    # The map fills while the run goes on.
    window.open(f"{url}/dags/{DAG}/runs/{run}/plugin/tbseg-tiles")
    window.wait(f"{INNER}.querySelectorAll('#map .tile').length", 180)
    seen = set()
    while airflow.instances(run)["merge"]["state"] is None:
        seen.add(window.run(STATES).count("done"))
        time.sleep(0.5)
    person.see("map")
    assert len(seen) > 2, f"tiles done, as the map had it: {seen}"
    assert airflow.wait(run) == "success"
    window.wait(f"{INNER}.getElementById('badge').textContent === '✓ verified'", 30)
    assert set(window.run(STATES)) == {"done"}

    # A tile, and its button: it alone, although its task has a batch of them.
    tiles = list(RunFolder(tmp_path / "run").plan.grid)
    tile = tiles[64]
    records = RunFolder(tmp_path / "run").records("classify")
    before = {one.name: records.get(one.name).attempts for one in tiles}
    click = "dispatchEvent(new MouseEvent('click'))"
    window.run(f"{INNER}.querySelector('[data-name={tile.name}]').{click}")
    buttons = f"[...{INNER}.querySelectorAll('#tile button')]"
    window.wait(f"{buttons}.length", 30)
    person.see("tile")
    person.click(f"{buttons}.find((b) => b.textContent.startsWith('Compute it again'))")
    link = f"{INNER}.querySelector('#asked a')"
    window.wait(link, 60)
    again = window.run(f"{link}.textContent").removeprefix("run ")
    assert airflow.wait(again) == "success"
    after = {one.name: records.get(one.name).attempts for one in tiles}
    assert after == before | {tile.name: before[tile.name] + 1}
    window.wait(f"{INNER}.getElementById('tile').innerText.includes('attempt 2')", 30)
    person.see("again")

    # The same place in 3D.
    z, y, x = ((a + b) // 2 for a, b in zip(tile.core.lo, tile.core.hi, strict=True))
    window.open(f"{url}/tbseg/runs/{DAG}/{run}/volume#{z},{y},{x}", width=900, height=700)
    window.wait("document.querySelector('#frame').src", 30)
    empty = window.middle()
    end = time.monotonic() + 60
    while window.middle() == empty and time.monotonic() < end:
        time.sleep(0.5)
    time.sleep(5)
    person.see("3d")
    assert window.middle() != empty
