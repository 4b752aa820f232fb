"""Autocontext: the second stage sees the raw channels and the first stage's probabilities."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tbseg_ops.classifier import read_passport
from tbseg_ops.classifier.passport import read_classifier
from tbseg_ops.engines import hard_labels, load_engine
from tbseg_ops.engines.native import engine as native
from tbseg_ops.engines.native.engine import NativeEngine
from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box, Grid
from tests.classifier.projects import changed
from tests.classifier.projects import replace as put
from tests.engines.native.exactness import FLAT, GENERIC, LONG, ODD, ROOT
from tests.quick import some_slow
from tests.reference_sets import REFERENCE, ReferenceSet

PROJECT = REFERENCE / "two-stage" / "classifier.ilp"
RAW = ReferenceSet("two-channel").raw()
SHAPE = RAW.shape[:3]
WHOLE = Box((0, 0, 0), SHAPE)
# ilastik's own test data (GPL) stay outside of the project.
PUBLISHED = Path(os.environ.get("TBSEG_AUTOCONTEXT", ROOT.parent / "shared/autocontext"))


def untiled(raw=RAW, threads=1):
    engine = load_engine("native", read_passport(PROJECT), volume_shape=SHAPE, threads=threads)
    return engine.predict(raw, WHOLE)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="set TBSEG_AUTOCONTEXT to ilastik's test data")
def test_both_stages_equal_what_the_ilastik_team_published():
    passport, forests = read_classifier(PUBLISHED / "classifier.ilp")
    with h5py.File(PUBLISHED / "volume.h5") as file:
        raw = file["data"][()][None, ..., None]
    shape = raw.shape[:3]
    for stage, mine, name in (
        (passport.first, forests[: -passport.forests], "probabilities_stage1.h5"),
        (passport, forests, "probabilities.h5"),
    ):
        with h5py.File(PUBLISHED / name) as file:
            expected = np.moveaxis(file["exported_data"][()], -1, 0)[:, None]
        engine = NativeEngine(stage, mine, shape, threads=1)
        for core in ((1, 128, 128), (1, 50, 37)):
            for piece in Grid(shape, core, core, stage.halo_for(shape)):
                core_box = piece.core.relative_to(piece.box.lo)
                found = engine.predict(raw[piece.box.slices], core_box)
                assert np.array_equal(found, expected[:, *piece.core.slices])
        # It is a classifier of images: each slice of a stack by itself.
        engine = NativeEngine(stage, mine, (3, 128, 128), threads=1)
        stack = np.concatenate([raw[:, ::-1], raw, raw[:, :, ::-1]])
        found = engine.predict(stack, Box((1, 0, 0), (2, 128, 128)))
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", some_slow([np.uint16, np.uint8, np.float32], 1))
@pytest.mark.parametrize(("tile", "threads"), [(ODD, 1), (FLAT, 2), (LONG, 2), ((11, 17, 13), 1)])
def test_tiles_give_what_the_whole_volume_gives(dtype, tile, threads):
    raw = RAW.astype(dtype)
    passport = read_passport(PROJECT)
    engine = load_engine("native", passport, volume_shape=SHAPE, threads=threads)
    expected = untiled(raw)
    for piece in Grid(SHAPE, tile, tile, passport.halo_for(SHAPE)):
        core = piece.core.relative_to(piece.box.lo)
        found = engine.predict(raw[piece.box.slices], core)
        assert np.array_equal(found, expected[:, *piece.core.slices])
        labels = engine.predict_labels(raw[piece.box.slices], core)
        assert np.array_equal(labels, hard_labels(found))


def test_the_halo_is_the_sum_of_both_and_one_alone_will_not_do():
    passport = read_passport(PROJECT)
    assert passport.first.halo_for(SHAPE) == (6, 7, 7)
    assert passport.reach_for(SHAPE) == (7, 14, 14)
    assert passport.halo_for(SHAPE) == (13, 21, 21)
    assert passport.halo_for((1, 45, 53)) == (0, 21, 21)
    engine = load_engine("native", passport, volume_shape=SHAPE)
    core, expected = Box((14, 22, 22), (22, 24, 31)), untiled()
    for halo, equal in (((13, 21, 21), True), (passport.reach_for(SHAPE), False)):
        box = core.grown(halo, SHAPE)
        found = engine.predict(RAW[box.slices], core.relative_to(box.lo))
        assert np.array_equal(found, expected[:, *core.slices]) == equal


def test_the_second_stage_sees_raw_and_maps_in_the_range_of_the_volume():
    """The same, put together by hand from two classifiers of one stage each."""
    passport, forests = read_classifier(PROJECT)
    own = forests[-passport.forests :]
    first = NativeEngine(passport.first, forests[: -len(own)], SHAPE, threads=1)
    maps = np.moveaxis(first.predict(RAW, WHOLE), 0, -1)
    stacked = np.concatenate([RAW, (np.float32(255) * maps).astype(np.uint8)], axis=-1)
    alone = passport.model_copy(update={"first": None, "channels": 5})
    assert np.array_equal(
        NativeEngine(alone, own, SHAPE, threads=1).predict(stacked, WHOLE), untiled()
    )


def test_probabilities_become_channels_as_in_ilastik():
    """The whole range of an integer type, cut off; a float stays what it is."""
    p = np.array([0, 0.2, 0.5, 0.6, 0.999, 1, np.nextafter(np.float32(1), 2)], np.float32)
    p = p.reshape(1, 1, 1, -1)
    as_channels = native._as_channels
    assert as_channels(p, np.dtype(np.uint8)).ravel().tolist() == [0, 51, 127, 153, 254, 255, 255]
    assert as_channels(p, np.dtype(np.uint16)).ravel().tolist() == [
        0, 13107, 32767, 39321, 65469, 65535, 65535,
    ]  # fmt: skip
    assert np.array_equal(as_channels(p, np.dtype(np.float32)).ravel(), p.ravel())


def test_any_processor_gives_the_same(generic_kernels):
    code = f"""
import numpy, sys
from {__spec__.name} import untiled
numpy.save(sys.argv[1], untiled())
"""
    target = generic_kernels / "found.npy"
    subprocess.run(
        [sys.executable, "-c", code, target],
        env={**os.environ, **GENERIC, "NUMBA_CACHE_DIR": str(generic_kernels)},
        cwd=ROOT,
        check=True,
    )
    assert np.array_equal(np.load(target), untiled())


def test_voxels_without_a_number_and_empty_volumes():
    raw = np.full(RAW.shape, 7, np.float32)
    passport = read_passport(PROJECT)
    engine = load_engine("native", passport, volume_shape=SHAPE)
    assert len(np.unique(engine.predict(raw, WHOLE)[0])) == 1
    raw[18, 22, 26, 1] = np.nan
    found = engine.predict(raw, WHOLE)
    assert not found[:, 18, 22, 26].any()
    assert np.isfinite(found).all()
    assert engine.predict_labels(raw, WHOLE)[18, 22, 26] == 1


# What the passport says.


def test_passport():
    passport = read_passport(PROJECT)
    first = passport.first
    assert (first.known_labels, passport.known_labels) == ((1, 2, 3), (1, 3))
    assert (first.channels, passport.channels) == (2, 2)
    assert (first.inputs, passport.inputs) == (2, 5)
    assert (first.columns, passport.columns) == (16, 45)
    assert (first.forests, passport.forests, passport.trees) == (3, 3, 100)
    assert passport.minimum_side_for(SHAPE) == (7, 14, 14)
    assert type(passport).model_validate_json(passport.model_dump_json()) == passport
    passport.check_volume(SHAPE, 2)
    with pytest.raises(InputError, match="channels"):
        passport.check_volume(SHAPE, 5)
    with pytest.raises(InputError, match="too small"):
        passport.check_volume((6, 45, 53), 2)


def test_the_name_that_users_see_will_do_too(tmp_path):
    path = changed(tmp_path, lambda f: put(f, "workflowName", b"Autocontext (2-stage)"), PROJECT)
    assert read_passport(path).digest == read_passport(PROJECT).digest


def threshold(group):
    def edit(file):
        tree = file[f"{group}/ClassifierForests/Forest0001/Tree_00/parameters"]
        tree[1] = tree[1] + 0.5

    return edit


@pytest.mark.parametrize("group", ["PixelClassification", "PixelClassification01"])
def test_the_digest_covers_both_stages(group, tmp_path):
    other = read_passport(changed(tmp_path, threshold(group), PROJECT))
    assert other.digest != read_passport(PROJECT).digest


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda f: f.pop("FeatureSelections01"), "FeatureSelections01"),
        (lambda f: f.pop("PixelClassification01"), "PixelClassification01/ClassifierForests"),
        (lambda f: f.pop("PixelClassification/ClassifierForests"), "no trained classifier"),
        (
            lambda f: put(f, "PixelClassification/LabelNames", [b"a", b"b", b"c", b"d"]),
            "PixelClassification01/ClassifierForests",  # was trained on three maps
        ),
    ],
)
def test_half_a_project_is_refused_by_name(edit, word, tmp_path):
    with pytest.raises(InputError, match=word):
        read_passport(changed(tmp_path, edit, PROJECT))


def test_what_only_ilastik_can_do_in_the_first_stage_is_said(tmp_path):
    def weighted(file):
        path = "PixelClassification/ClassifierForests/Forest0000/_options/predict_weighted_"
        file[path][0] = 1

    passport = read_passport(changed(tmp_path, weighted, PROJECT))
    assert any("weighted" in refusal for refusal in passport.native_refusals)
    with pytest.raises(InputError, match="native"):
        load_engine("native", passport, volume_shape=SHAPE)
