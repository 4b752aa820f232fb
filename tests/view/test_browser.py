"""The page in a real browser, where one is installed: what a person would see."""

import re
import shutil
import subprocess

import pytest

from tbseg_ops import steps
from tests.runs import planned, stack, through
from tests.view.serving import served

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")


def page(url, folder):
    """The document that scripts have made after four seconds of the browser's own time."""
    words = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
    ]
    words += ["--virtual-time-budget=4000", "--dump-dom", url]
    return subprocess.run(words, capture_output=True, text=True, timeout=120).stdout


def test_the_map_shows_which_tiles_are_there_and_a_hostile_name_is_text(tmp_path):
    run = tmp_path / "<img src=x onerror=alert(1)>"
    planned(run, stack(tmp_path / "slices"))
    through(run, until="split")
    steps.classify(run=run, tiles=("z000_y000_x001", "z001_y001_x001"))
    with served(run) as server:
        text = page(f"{server.url}#z=5&tile=z000_y000_x001", tmp_path / "profile")
    assert "2 of 8 tiles classified" in text
    assert re.findall(r'class="tile (\w+)', text) in (["cut", "cut", "cut", "done"],)
    assert "Tile z000_y000_x001" in text
    assert '<h1 id="name">&lt;img src=x onerror=alert(1)&gt;</h1>' in text
    assert "<img src=" not in text.replace('<img alt="', "")
