"""The lines that README, docs, report and demo print for viewers: each in the real program."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile

from scripts import demo
from tbseg_ops import steps
from tests.runs import command, copied

ROOT = Path(__file__).parents[2]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
TEXTS = ("README.md", "docs/export.md", "docs/view.md")

# A browser that is asked to open an address: it keeps the page that it has made of it.
KEEPS = """\
#!/bin/sh
"{browser}" --headless=new --no-sandbox --disable-gpu --user-data-dir="{folder}/profile" \\
    --virtual-time-budget=4000 --dump-dom "$1" > "{folder}/page.part"
mv "{folder}/page.part" "{folder}/page.html"
"""

# tbseg view --napari without its window, which needs OpenGL: all of napari but that.
NAPARI = """\
import json, sys
import napari, numpy
from napari.components import ViewerModel
from tbseg_ops.cli.main import main

viewer = None

def opened(**words):
    global viewer
    viewer = ViewerModel(**words)
    return viewer

def look():
    planes = {layer.name: numpy.asarray(layer.data[9]) for layer in viewer.layers}
    values = {name: numpy.unique(plane).size for name, plane in planes.items()}
    print(json.dumps([viewer.title, values]))

napari.Viewer, napari.run = opened, look
sys.argv = ["tbseg", *sys.argv[1:]]
main()
"""


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """Called as in the texts."""
    run = copied(finished, tmp_path_factory.mktemp("lines"))
    steps.publish(run=run)  # the report names the folder
    return run


def lines(text):
    """The commands of tbseg in a text, without its own path, and what is said about them."""
    found = re.findall(r"(?:^|\s)(?:\S*/)?(tbseg (?:view|export) .*)$", text, re.M)
    return [shlex.split(line, comments=True)[1:] for line in found]


def documented():
    """The commands in the blocks of the texts."""
    texts = "\n".join((ROOT / name).read_text() for name in TEXTS)
    blocks = re.findall(r"^```\w*\n(.*?)^```", texts, re.M | re.S)
    return [words for block in blocks for words in lines(block)]


def printed(run):
    """Those of the report of a run, and of the end of make demo."""
    report = "\n".join(re.findall(r"<pre>(.*?)</pre>", (run / "report.html").read_text(), re.S))
    home = SimpleNamespace(password=lambda: "secret")
    service = SimpleNamespace(url="http://127.0.0.1:1", home=home)
    return lines(report) + lines(demo._closing(service, "demo", run, 0, 1))


def asked(run, kind):
    """The different commands of one kind, for ``run``."""
    every = [
        [str(run) if word in ("run/", "other/") else word for word in words]
        for words in documented() + printed(run)
    ]
    kinds = {"view": lambda w: w[0] == "view" and "--napari" not in w}
    kinds |= {"napari": lambda w: "--napari" in w, "export": lambda w: w[0] == "export"}
    return sorted({tuple(words) for words in every if kinds[kind](words)})


def test_each_text_names_its_viewers(run):
    assert len(documented()) >= 6
    assert [words[:2] for words in printed(run)] == [["view", str(run)], ["view", "--napari"]] * 2


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
@pytest.mark.parametrize("number", range(2))
def test_the_lines_that_open_a_browser(number, run, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(KEEPS.format(browser=BROWSER, folder=tmp_path))
    browser.chmod(0o755)
    both = asked(run, "view")
    assert ["--compare" in words for words in both] == [False, True]
    words = both[number]
    child = subprocess.Popen(
        command(*words),
        env={"PATH": "/usr/bin:/bin", "BROWSER": f"{browser} %s", "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(600):
            if (tmp_path / "page.html").exists() or child.poll() is not None:
                break
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.1)
    finally:
        child.terminate()
        child.communicate()
    assert "8 of 8 tiles classified" in (tmp_path / "page.html").read_text()


@pytest.mark.skipif(find_spec("napari") is None, reason="napari is not installed")
def test_the_lines_that_open_napari(run, tmp_path):
    (words,) = asked(run, "napari")
    done = subprocess.run(
        [sys.executable, "-c", NAPARI, *words],
        env={"PATH": "/usr/bin:/bin", "QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    title, values = json.loads(done.stdout.splitlines()[-1])
    assert title == "tbseg: run"
    assert values["raw"] > 100
    assert values["classes"] == 2


def test_the_lines_that_export_and_what_reads_the_files(run, tmp_path):
    """And the line of Python for a stack, as docs/export.md has it."""
    exports = asked(run, "export")
    assert {words[3] for words in exports} == {"ome-zarr", "tiff", "tiff-slices"}
    for words in exports:
        line = [str(tmp_path) if word == "/data/for-imaris" else word for word in words]
        done = subprocess.run(command(*line), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    with h5py.File(run / "segmentation.h5") as file:
        labels = file["labels"][()]
    assert np.array_equal(tifffile.imread(sorted(tmp_path.glob("labels/*.tif"))), labels)
    (code,) = re.findall(r"`(tifffile\.memmap\(.*?\))`", (ROOT / "docs/export.md").read_text())
    read = f"import tifffile; print(int({code}.sum()))"
    words = [sys.executable, "-c", read]
    done = subprocess.run(words, cwd=run / "export", capture_output=True, text=True)
    assert done.stdout == f"{labels.sum()}\n", done.stderr
    if find_spec("yaozarrs"):
        from yaozarrs.v05 import OMEZarrGroupJSON

        OMEZarrGroupJSON.model_validate_json((run / "export/raw.ome.zarr/zarr.json").read_text())


def test_the_lines_of_python_in_the_report(run):
    (code,) = re.findall(r"<pre>(import h5py.*?)</pre>", (run / "report.html").read_text(), re.S)
    done = subprocess.run([sys.executable, "-c", unescape(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
