"""A mask volume restricts the work; what lies outside has no class; inside nothing changes."""

import h5py
import numpy as np
import pytest
import tifffile

from tbseg_ops import steps
from tbseg_ops.engines.native.engine import NativeEngine
from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_mask
from tbseg_ops.volume.mask import fitting
from tests.runs import VESSELS, datasets, planned, spec_of, through
from tests.synthetic import write_hdf5, write_stack

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


def box_mask(shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[3:17, 8:40, 12:44] = True
    return mask


def counted(finished, tmp_path, mask):
    """The labels under a mask, and the plan."""
    made = planned(tmp_path / "run", finished / "slices", mask=str(mask))
    through(tmp_path / "run")
    assert steps.prove(run=tmp_path / "run", boxes=3, raw_from="input").wrong == 0
    return datasets(tmp_path / "run/segmentation.h5")["labels"] != 0, made


def as_tiff(dtype):
    def write(path, mask):
        tifffile.imwrite(
            path / "m.tif", (mask * 997).astype(dtype), photometric="minisblack", metadata=None
        )
        return path / "m.tif"

    return write


def as_bits(path, mask):
    tifffile.imwrite(path / "m.tif", mask, photometric="minisblack", metadata=None)
    return path / "m.tif"


def as_labels(path, mask):
    return write_hdf5(path / "m.h5", mask.astype(np.uint64) * 2**40, axes="zyx")


def as_sparse(path, mask):
    """Only the chunks inside were written."""
    with h5py.File(path / "m.h5", "w") as file:
        data = file.create_dataset("mask", mask.shape, "u1", chunks=(9, 10, 10), compression="gzip")
        data[3:17, 8:40, 12:44] = 1
    return path / "m.h5"


FORMS = {
    "uint32": as_tiff(np.uint32),
    "int16": as_tiff(np.int16),
    "float64": as_tiff(np.float64),
    "one bit": as_bits,
    "uint64 in HDF5": as_labels,
    "sparse HDF5": as_sparse,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_may_be_of_any_type(form, finished, tmp_path):
    mask = box_mask()
    inside, made = counted(finished, tmp_path, FORMS[form](tmp_path, mask))
    assert np.array_equal(inside, mask)
    assert any("never written" in note for note in made.notes) == (form == "sparse HDF5")


@pytest.mark.parametrize("as_stack", [True, False])
@pytest.mark.parametrize("factors", [(4, 4, 4), (1, 2, 2), (3, 1, 1)])
def test_a_mask_may_be_coarser_by_whole_factors(factors, as_stack, finished, tmp_path):
    small = box_mask()[tuple(slice(None, None, f) for f in factors)].astype(np.uint8)
    path = tmp_path / "m.tif"
    if as_stack:
        path = write_stack(tmp_path / "m", small)
    else:
        tifffile.imwrite(path, small, photometric="minisblack")
    inside, made = counted(finished, tmp_path, path)
    z, y, x = (np.arange(n) // f for n, f in zip(SHAPE, factors, strict=True))
    assert np.array_equal(inside, small[z][:, y][:, :, x] != 0)
    (note,) = (note for note in made.notes if "coarser" in note)
    assert " x ".join(map(str, factors)) in note
    assert str(small.shape) in note


def test_a_mask_may_be_one_plane_for_all_slices(finished, tmp_path):
    plane = box_mask()[5].astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", plane)
    inside, made = counted(finished, tmp_path, tmp_path / "m.tif")
    assert np.array_equal(inside, np.broadcast_to(plane != 0, SHAPE))
    assert f"one plane: it counts for all {SHAPE[0]} slices" in " ".join(made.notes)


@pytest.mark.parametrize(
    ("mask", "shape", "factors"),
    [
        ((5, 15, 15), (20, 60, 60), (4, 4, 4)),
        ((10, 12, 14), (37, 45, 53), (4, 4, 4)),
        ((1, 45, 53), (37, 45, 53), (37, 1, 1)),
        ((1, 45, 53), (1, 45, 53), (1, 1, 1)),
        ((36, 45, 53), (37, 45, 53), None),
        ((38, 45, 53), (37, 45, 53), None),
        ((37, 1, 53), (37, 45, 53), None),
        ((2, 45, 53), (37, 45, 53), None),  # 19 to 36 slices for each: not clear
    ],
)
def test_which_masks_fit(mask, shape, factors):
    assert fitting(mask, shape) == factors


@pytest.mark.parametrize("kind", ["tiff", "hdf5"])
def test_a_large_box_that_packs_well_is_no_bomb(kind, tmp_path):
    mask = np.zeros((48, 1400, 1400), np.uint8)
    mask[10:30, 200:1000, 300:900] = 1
    path = tmp_path / ("m.tif" if kind == "tiff" else "m.h5")
    if kind == "tiff":
        options = {"compression": "zstd", "rowsperstrip": 1400}
        tifffile.imwrite(path, mask, photometric="minisblack", **options)
    else:
        write_hdf5(path, mask, chunks=(8, 1400, 1400), compression="gzip", compression_opts=9)
    with open_mask(str(path), mask.shape) as source:
        assert np.array_equal(source.read(9, 11).array[..., 0], mask[9:11])


def test_a_wrong_mask_is_refused_before_a_slice_is_read(finished, tmp_path):
    write_stack(tmp_path / "mask", np.ones((36, 45, 53), np.uint8))
    told = []
    with pytest.raises(InputError, match=r"\(37, 45, 53\)") as caught:
        steps.plan(
            spec=spec_of(finished / "slices", mask=str(tmp_path / "mask")),
            run=tmp_path / "run",
            progress=lambda *what: told.append(what),
        )
    assert "(36, 45, 53)" in str(caught.value)
    assert told == []


def test_a_mask_over_several_files_of_many_pages(finished, tmp_path):
    mask = ball()
    (tmp_path / "mask").mkdir()
    for name, part in (("m.tif", mask[:20]), ("m_1.tif", mask[20:])):
        tifffile.imwrite(tmp_path / "mask" / name, part)
    planned(tmp_path / "run", finished / "slices", mask=str(tmp_path / "mask"))
    through(tmp_path / "run")
    whole = datasets(finished / "run/segmentation.h5")["labels"]
    found = datasets(tmp_path / "run/segmentation.h5")["labels"]
    assert np.array_equal(found, np.where(mask, whole, 0))
