"""A mask volume restricts the work; what lies outside has no class; inside nothing changes."""

import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.engines.native.engine import NativeEngine
from tbseg_ops.errors import InputError
from tests.runs import VESSELS, datasets, planned, through
from tests.synthetic import write_stack

SHAPE = VESSELS.raw().shape[:3]


def ball():
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (((z - 10) ** 2 + (y - 15) ** 2 + (x - 14) ** 2) < 13**2).astype(np.uint8) * 255


@pytest.mark.parametrize("split", ["copy", "virtual"])
def test_inside_nothing_changes_outside_nothing_is_said(split, finished, tmp_path):
    mask = ball()
    write_stack(tmp_path / "mask", mask)
    changes = {"mask": str(tmp_path / "mask"), "probabilities": "all", "split": split}
    planned(tmp_path / "run", finished / "slices", **changes)
    through(tmp_path / "run")
    whole = datasets(finished / "run/segmentation.h5")
    part = datasets(tmp_path / "run/segmentation.h5")
    for name in whole:
        assert np.array_equal(part[name], np.where(mask, whole[name], 0))
    for name in part:
        assert not part[name][mask == 0].any()
    assert "outside of the mask" in (tmp_path / "run/report.html").read_text()


def test_tiles_outside_are_not_computed(finished, tmp_path, monkeypatch):
    voxels = []
    real = NativeEngine.predict_labels
    monkeypatch.setattr(
        NativeEngine,
        "predict_labels",
        lambda self, raw, core: voxels.append(core.size) or real(self, raw, core),
    )
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:7, 5:11, 2:9] = 1
    write_stack(tmp_path / "mask", mask)
    planned(tmp_path / "run", finished / "slices", mask=str(tmp_path / "mask"))
    through(tmp_path / "run", until="classify")
    assert voxels == [4 * 6 * 7]


def test_a_changed_mask_recomputes_what_it_touches(finished, tmp_path):
    mask = ball()
    write_stack(tmp_path / "mask", mask)
    run = tmp_path / "run"
    made = planned(run, finished / "slices", mask=str(tmp_path / "mask"))
    through(run)
    mask[0, 0, 0] = 255
    write_stack(tmp_path / "mask", mask)
    planned(run, finished / "slices", mask=str(tmp_path / "mask"))
    results = through(run)
    assert results["classify"].computed == 1
    assert len(made.grid) == 8


@pytest.mark.parametrize("shape", [(36, 45, 53), (37, 45, 52)])
def test_a_mask_of_another_shape_is_refused(shape, finished, tmp_path):
    write_stack(tmp_path / "mask", np.ones(shape, np.uint8))
    with pytest.raises(InputError, match="mask does not fit"):
        planned(tmp_path / "run", finished / "slices", mask=str(tmp_path / "mask"))
    assert steps.audit(volume=str(tmp_path / "mask")).volume.shape == shape
