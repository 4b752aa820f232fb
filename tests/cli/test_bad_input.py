"""What a user gives wrongly: a clear error naming the thing, the right exit code, nothing left."""

import h5py
import numpy as np
import pytest

from tbseg_ops.errors import ConfigError, InputError
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS, files_below, tbseg
from tests.synthetic import write_page, write_stack

RAW = VESSELS.raw()[..., 0]


def missing_slice(slices, ilp):
    (slices / "img_7.tif").unlink()
    return slices, ilp, "7"


def mixed_dtype(slices, ilp):
    write_page(slices / "img_9.tif", RAW[9].astype(np.uint16))
    return slices, ilp, "img_9.tif"


def mixed_shape(slices, ilp):
    write_page(slices / "img_9.tif", RAW[9, :, :-1])
    return slices, ilp, "img_9.tif"


def truncated(slices, ilp):
    path = slices / "img_11.tif"
    path.write_bytes(path.read_bytes()[:-200])
    return slices, ilp, "img_11.tif"


def no_slices(slices, ilp):
    empty = slices.parent / "empty"
    empty.mkdir()
    return empty, ilp, "empty"


def no_forest(slices, ilp):
    with h5py.File(ilp, "r+") as file:
        del file["PixelClassification/ClassifierForests"]
    return slices, ilp, "ClassifierForests"


def other_workflow(slices, ilp):
    with h5py.File(ilp, "r+") as file:
        del file["workflowName"]
        file["workflowName"] = b"Object Classification (from label image)"
    return slices, ilp, "Object Classification"


def cut_off(slices, ilp):
    ilp.write_bytes(ilp.read_bytes()[:50_000])
    return slices, ilp, "c.ilp"


def wrong_channels(slices, ilp):
    return slices, ReferenceSet("two-channel").classifier, "channels"


CASES = [
    missing_slice,
    mixed_dtype,
    mixed_shape,
    truncated,
    no_slices,
    no_forest,
    other_workflow,
    cut_off,
    wrong_channels,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_bad_input(case, tmp_path):
    slices = write_stack(tmp_path / "slices", RAW)
    ilp = tmp_path / "c.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    volume, classifier, named = case(slices, ilp)
    run = tmp_path / "run"
    result = tbseg("run", volume, classifier, run)
    assert result.returncode == InputError.exit_code, result.stderr
    error = result.stderr[result.stderr.index("error: ") :]
    assert named in error
    assert "Traceback" not in result.stderr
    assert files_below(run) == set()


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--tile", "0,1,1"], ConfigError.exit_code, "tile"),
        (["--tile", "a,b,c"], 2, "Z,Y,X"),
        (["--probabilities", "vesel"], InputError.exit_code, "vesel"),
        (["--engine", "other"], 2, "engine"),
        (["--engine", "ilastik"], ConfigError.exit_code, "TBSEG_ILASTIK"),
        (["--workers", "0"], 2, "workers"),
    ],
)
def test_wrong_options(options, code, named, tmp_path, monkeypatch):
    monkeypatch.delenv("TBSEG_ILASTIK", raising=False)
    slices = write_stack(tmp_path / "slices", RAW)
    result = tbseg("run", slices, VESSELS.classifier, tmp_path / "run", *options)
    assert result.returncode == code, result.stderr
    assert named in result.stderr
    assert files_below(tmp_path / "run") == set()


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("classify", "--run"), ("merge", "--run"), ("verify", "--run")],
)
def test_a_folder_that_is_no_run(arguments, tmp_path):
    result = tbseg(*arguments, tmp_path)
    assert result.returncode == ConfigError.exit_code
    assert "tbseg plan" in result.stderr


def test_tiles_and_batches_that_do_not_exist(finished):
    for options in (["--tiles", "z9_y9_x9"], ["--batch", "99"]):
        result = tbseg("classify", "--run", finished / "run", *options)
        assert result.returncode == ConfigError.exit_code
        assert "the plan has no" in result.stderr
