"""Two runs side by side: the figures of tbseg compare against numpy on whole arrays."""

import h5py
import numpy as np
import pytest

from tbseg_ops.cli.compare import compare as command
from tbseg_ops.errors import UsageError
from tbseg_ops.run import RunFolder
from tbseg_ops.view import compare as module
from tbseg_ops.view.compare import OUTSIDE, compare
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


def test_runs_that_cannot_be_compared(finished, tmp_path):
    planned(tmp_path / "part", finished / "slices", box=":,:,:20")
    with pytest.raises(UsageError, match="no result yet"):
        compare(RunFolder(finished / "run"), RunFolder(tmp_path / "part"))
    through(tmp_path / "part", until="merge")
    with pytest.raises(UsageError, match=r"expected: 37 x 45 x 53 (.|\n)*found: 37 x 45 x 20"):
        compare(RunFolder(finished / "run"), RunFolder(tmp_path / "part"))
