"""Two runs side by side: the figures of tbseg compare against numpy on whole arrays."""

import json
import time

import h5py
import imagecodecs
import numpy as np
import pytest

from tbseg_ops.cli.compare import compare as command
from tbseg_ops.errors import IntegrityError, UsageError
from tbseg_ops.run import RunFolder
from tbseg_ops.view import compare as module
from tbseg_ops.view import comparison as background
from tbseg_ops.view.compare import OUTSIDE, Pair, compare
from tbseg_ops.view.comparison import Comparison
from tbseg_ops.view.site import Site
from tbseg_ops.view.tiles import RunView, layer_of
from tests.runs import VESSELS, datasets, planned, stack, through


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run over darker voxels, in other tiles, with a mask, by a classifier with other names."""
    folder = tmp_path_factory.mktemp("other")
    raw = VESSELS.raw()[..., 0]
    mask = np.ones(raw.shape, np.uint8)
    mask[:5] = 0
    with h5py.File(folder / "mask.h5", "w") as file:
        file["data"] = mask
    ilp = folder / "names.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    with h5py.File(ilp, "r+") as file:
        del file["PixelClassification/LabelNames"]
        names = np.array(["vessel", "rest"], h5py.string_dtype())
        file["PixelClassification/LabelNames"] = names
    slices = stack(folder / "slices", (raw * 0.8).astype(raw.dtype))
    mask_file = f"{folder / 'mask.h5'}:/data"
    planned(folder / "run", slices, classifier=str(ilp), mask=mask_file, tile=(37, 45, 53))
    through(folder / "run", until="merge")
    return folder / "run"


def test_a_run_and_itself(finished, capsys):
    found = compare(RunFolder(finished / "run"), RunFolder(finished / "run"))
    assert (found.different, found.share, found.most) == (0, 0.0, ())
    assert found.voxels == 37 * 45 * 53
    command(finished / "run", finished / "run")
    assert capsys.readouterr().out.startswith("0 % of 88,245 voxels differ (0), in 0 of 8 tiles\n")


@pytest.mark.parametrize("few", [64, 0])
def test_the_figures_are_those_of_whole_arrays(finished, other, monkeypatch, few):
    monkeypatch.setattr(module, "_FEW", few)
    monkeypatch.setattr(module, "_BLOCK", (7, 11, 13))
    first, second = RunFolder(finished / "run"), RunFolder(other)
    found = compare(first, second)
    a, b = (datasets(folder.segmentation_file)["labels"] for folder in (first, second))
    assert found.first_classes == (OUTSIDE, "background", "vessel")
    assert found.second_classes == (OUTSIDE, "vessel", "rest")
    expected = [[np.count_nonzero((a == i) & (b == j)) for j in range(3)] for i in range(3)]
    assert [*map(list, found.confusion)] == expected
    assert expected[1][0] > 0
    same = (a == 2) & (b == 1)  # the only name that both have
    assert found.different == np.count_nonzero(~same)
    assert found.share == found.different / a.size
    shares = {t.name: (~same)[t.core.slices].mean() for t in first.plan.grid}
    assert {tile.name: tile.share for tile in found.most} == pytest.approx(shares)
    assert [tile.share for tile in found.most] == sorted(shares.values(), reverse=True)


def test_what_people_see(finished, other, capsys):
    command(finished / "run", other, most=2)
    first, head, *rows = capsys.readouterr().out.splitlines()
    assert first.endswith("in 8 of 8 tiles")
    assert head.split() == ["RUN1", "\\", "RUN2", *OUTSIDE.split(), "vessel", "rest"]
    assert [row.split()[0] for row in rows[:2]] == ["background", "vessel"]
    assert len(rows[2:]) == 2
    assert all(row.startswith("z00") and " % " in row for row in rows[2:])
    command(finished / "run", other, most=2, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["most"]) == 8


def settled(ask, seconds=30):
    """What is told once all tiles are compared."""
    end = time.monotonic() + seconds
    while (told := ask())["done"] < told["tiles"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    return told


def test_in_the_background_the_same_comes_out_and_what_is_looked_at_comes_first(
    finished, other, monkeypatch
):
    first, second = (RunView(RunFolder(run)) for run in (finished / "run", other))
    expected = compare(first.folder, second.folder)
    found = Comparison(first, second)
    turns = []
    counted = Pair.counted
    monkeypatch.setattr(
        Pair, "counted", lambda pair, box, files: turns.append(box) or counted(pair, box, files)
    )
    assert found.shares(2, 1) == [None] * 4
    told = settled(found.told)
    grid = first.folder.plan.grid
    assert [box.lo[2] for box in turns] == [grid.core[2]] * 4 + [0] * 4
    as_json = expected.model_dump(mode="json", exclude={"most"})
    assert {name: told[name] for name in as_json} == as_json
    shares = {tile.name: tile.share for tile in expected.most}
    assert {tile["name"]: tile["share"] for tile in told["most"]} == shares
    assert found.shares(1, 1) == [shares[t.name] for t in layer_of(grid, 1, 1)]
    assert told["differing"] == 8


def test_the_work_rests_when_nobody_asks_and_goes_on(finished, other, monkeypatch):
    monkeypatch.setattr(background, "_REST_SECONDS", -1)
    found = Comparison(*(RunView(RunFolder(run)) for run in (finished / "run", other)))
    assert found.told()["done"] == 0
    while found._worker is not None:
        time.sleep(0.01)
    assert found.told()["done"] == 0
    while found._worker is not None:
        time.sleep(0.01)
    monkeypatch.setattr(background, "_REST_SECONDS", 20)
    assert settled(found.told)["done"] == 8


def test_what_stops_the_work_is_told_and_tried_again(finished, other, monkeypatch):
    found = Comparison(*(RunView(RunFolder(run)) for run in (finished / "run", other)))
    counted = Pair.counted

    def damaged(*of):
        raise IntegrityError("the file is damaged")

    monkeypatch.setattr(Pair, "counted", damaged)
    with pytest.raises(IntegrityError, match="damaged"):
        settled(found.told)
    monkeypatch.setattr(Pair, "counted", counted)
    assert settled(found.told)["done"] == 8


def test_what_a_page_asks_of_two_runs(finished, other):
    site = Site(RunFolder(finished / "run"), Site(RunFolder(other)))
    a, b = (datasets(path / "segmentation.h5")["labels"] for path in (finished / "run", other))

    def asked(path, **query):
        answer = site.get(f"api/{path}", {"with": "other", **query})
        assert answer.status == 200, answer.body
        return answer.body

    def picture(path, **query):
        return imagecodecs.png_decode(asked(path, **query))

    settled(lambda: json.loads(asked("comparison")))
    assert None not in json.loads(asked("differs", axis="1", number="0"))
    seen = picture("plane", kind="difference", axis="1", at="20")[..., 3] > 0
    assert np.array_equal(seen, ~((a == 2) & (b == 1))[:, 20])
    colors = site._other.view.folder.plan.classifier.colors
    painted = picture("plane", kind="other", axis="0", at="30")[..., :3]
    assert np.array_equal(painted, np.asarray(colors)[b[30] - 1])
    tile = picture("tile-plane", kind="difference", axis="0", name="z000_y000_x000")
    assert tile.any()
    alone = Site(RunFolder(finished / "run")).get("api/comparison", {"with": "other"})
    assert (alone.status, b"--compare" in alone.body) == (404, True)


def test_runs_that_cannot_be_compared(finished, tmp_path):
    planned(tmp_path / "part", finished / "slices", box=":,:,:20")
    with pytest.raises(UsageError, match="no result yet"):
        compare(RunFolder(finished / "run"), RunFolder(tmp_path / "part"))
    through(tmp_path / "part", until="merge")
    with pytest.raises(UsageError, match=r"expected: 37 x 45 x 53 (.|\n)*found: 37 x 45 x 20"):
        compare(RunFolder(finished / "run"), RunFolder(tmp_path / "part"))
