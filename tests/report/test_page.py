"""The report as people read it: figures in their units, pictures to scale, narrow screens."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import tifffile

from tbseg_ops import steps
from tbseg_ops.forecast import Workforce, forecast
from tbseg_ops.report.comparison import compared, span_of
from tbseg_ops.report.scenes import odd_scenes, scenes
from tbseg_ops.run import RunFolder
from tbseg_ops.view.tiles import RunView
from tests.runs import VESSELS, planned, spec_of, stack, through

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A run over voxels of 2 x 0.5 x 0.5 micrometres, in two tiles."""
    folder = tmp_path_factory.mktemp("report")
    ends = {"spacing": 2.0, "unit": "um", "axes": "ZYX"}
    raw = VESSELS.raw()[:20, :24, :, 0]
    tifffile.imwrite(folder / "v.tif", raw, imagej=True, resolution=(2, 2), metadata=ends)
    planned(folder / "run", folder / "v.tif", tile=(20, 24, 30))
    through(folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def overexposed(tmp_path_factory):
    """A run in nine tiles, the middle one of which is as bright as can be."""
    folder = tmp_path_factory.mktemp("odd")
    raw = np.tile(VESSELS.raw()[:15, :22, :22, 0], (1, 3, 3))
    raw[:, 22:44, 22:44] = raw.max()
    planned(folder / "run", stack(folder / "slices", raw), tile=(15, 22, 22))
    through(folder / "run")
    return folder / "run"


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*</style>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_who_when_how_fast_and_where(flat):
    folder = RunFolder(flat)
    (host,) = {folder.records("classify").get(tile.name).host for tile in folder.plan.grid}
    text = text_of(folder.report_file.read_text())
    assert re.search(r"finished \d{4}-\d\d-\d\d \d\d:\d\d UTC by \S+ ", text)
    assert f"by {folder.plan_file.owner()} " in text
    assert re.search(r"classified 25,440 voxels in [\d.]+ (s|min): [\d,]+ voxels/s", text)
    assert f"on {host} (2 tiles)" in text


def test_classes_with_their_value_and_volume(flat):
    folder = RunFolder(flat)
    records = [folder.records("classify").get(tile.name) for tile in folder.plan.grid]
    text = text_of(folder.report_file.read_text())
    for value, name in enumerate(folder.plan.classifier.labels, start=1):
        count = sum(r.counts[value - 1] for r in records)
        row = f"{value} {name} /classes/{name} {count:,} {count / 254.4:.2f} %"
        assert f"{row} {count * 2 * 0.5 * 0.5:,.0f} \N{MICRO SIGN}m" in text


def test_three_planes_to_scale(flat):
    found = scenes(RunFolder(flat))
    assert [scene.title[:1] for scene in found] == ["z", "y", "x"]
    assert [scene.aspect for scene in found] == pytest.approx([53 / 24, 26.5 / 40, 12 / 40])
    assert [scene.length for scene in found] == [f"{n} \N{MICRO SIGN}m" for n in (5, 5, 2)]
    assert [scene.bar for scene in found] == pytest.approx([5 / 26.5, 5 / 26.5, 2 / 12])


def test_voxels_of_unknown_size_are_cubes_and_have_no_volume(finished):
    folder = RunFolder(finished / "run")
    assert folder.plan.volume.voxel_size is None
    found = scenes(folder)
    assert [scene.aspect for scene in found] == pytest.approx([53 / 45, 53 / 37, 45 / 37])
    assert found[0].length == "10 voxels"
    text = text_of(folder.report_file.read_text())
    assert "does not tell how large its voxels are" in text
    assert "m\N{SUPERSCRIPT THREE}" not in text


def test_odd_tiles_are_pictured(overexposed):
    folder = RunFolder(overexposed)
    records = [folder.records("classify").get(tile.name) for tile in folder.plan.grid]
    found, number = odd_scenes(folder, records)
    assert number == len(found) == 1
    assert re.fullmatch(r"z000_y001_x001: \d+ % \w+, its neighbours \d+ %", found[0].title)
    text = text_of(folder.report_file.read_text())
    assert "1 of 9 tiles has much more or less of a class" in text
    assert found[0].title in text


def test_a_page_tells_the_same_tile(overexposed):
    told = {t["name"]: t.get("odd") for t in RunView(RunFolder(overexposed)).layer(0)["tiles"]}
    assert {name for name, odd in told.items() if odd} == {"z000_y001_x001"}
    assert told["z000_y001_x001"] in text_of((overexposed / "report.html").read_text())


def test_a_slice_has_one_picture(finished, tmp_path):
    planned(tmp_path / "run", finished / "slices", box="5:6,:,:")
    through(tmp_path / "run")
    found = scenes(RunFolder(tmp_path / "run"))
    assert [scene.title for scene in found] == ["z = 0 (y down, x right)"]


def test_what_took_over_all_has_no_speed_and_no_error_of_time(finished, tmp_path):
    run = tmp_path / "run"
    steps.plan(spec=spec_of(finished / "slices"), run=run, earlier=(finished / "run",))
    forecast(run=run, workforce=Workforce(1), earlier=(finished / "run",))
    through(run)
    folder = RunFolder(run)
    records = [folder.records("classify").get(tile.name) for tile in folder.plan.grid]
    assert all(record.origin for record in records)
    assert span_of(folder, records) is None
    assert [found.what for found in compared(folder, records)] == ["class files and merged file"]
    text = text_of(folder.report_file.read_text())
    assert "Forecast and reality" in text
    assert "-100 %" not in text
    assert "voxels/s" not in text


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_a_narrow_screen_need_not_scroll_sideways(flat, tmp_path):
    page = (flat / "report.html").read_text()
    (tmp_path / "page.html").write_text(
        re.sub(r"(</span>|/)background\b", r"\1" + "very_long_name_" * 9, page)
    )
    frame = '<iframe src="page.html" width="390" height="800" onload="{}"></iframe>'
    tell = "document.title = this.contentDocument.documentElement.scrollWidth"
    (tmp_path / "phone.html").write_text(frame.format(tell))
    words = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    words += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*words, (tmp_path / "phone.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    (width,) = re.findall(r"<title>(\d+)</title>", done.stdout)
    assert 300 < int(width) <= 390
