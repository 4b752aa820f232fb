"""The engine native against what ilastik itself gave, and against itself in other pieces.

How equal: every probability and every label, to the bit, however the volume is cut.
"""

from dataclasses import replace

import numpy as np
import pytest

from tbseg_ops.classifier import read_passport
from tbseg_ops.classifier.passport import read_classifier
from tbseg_ops.engines import hard_labels, load_engine
from tbseg_ops.engines.native import engine as native
from tbseg_ops.engines.native.engine import NativeEngine
from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box, Grid
from tests.classifier.projects import trained_on
from tests.engines.native.exactness import FLAT, LONG, ODD, compared, compared_generically
from tests.reference_sets import CLASSIFIERS, LARGE, SMALL, ReferenceSet

LARGE_WAYS = [(None, 1), (LONG, 2)]
SMALL_WAYS = [(tile, threads) for tile in (None, ODD, FLAT, LONG) for threads in (1, 2)]


def engine_for(reference, shape, threads=1):
    return load_engine(
        "native", read_passport(reference.classifier), volume_shape=shape, threads=threads
    )


def whole(raw):
    return Box((0, 0, 0), raw.shape[:3])


@pytest.mark.parametrize(
    ("reference", "tile", "threads"),
    [
        (r, *way)
        for ways, sets in ((SMALL_WAYS, SMALL), (LARGE_WAYS, LARGE))
        for r in sets
        for way in ways
    ],
    ids=str,
)
def test_equals_ilastik(reference, tile, threads, record_property):
    found = compared(reference, tile, threads)
    if tile is None and threads == 1:
        record_property("oracle", str(found))
    assert (found.differing, found.largest, found.relabelled) == (0, 0, 0)


def test_equals_ilastik_on_any_processor(generic_kernels, record_property):
    found = compared_generically(SMALL, generic_kernels)
    assert len(found) == len(SMALL)
    for comparison in found:
        record_property("oracle", str(comparison))
        assert (comparison.differing, comparison.largest, comparison.relabelled) == (0, 0, 0)


@pytest.mark.parametrize("axes", ["yx", "tyxc"])
@pytest.mark.parametrize("tile", [None, ODD, (1, 45, 53)])
def test_a_classifier_of_images_equals_ilastik_slice_by_slice(axes, tile, tmp_path):
    """The set was computed by ilastik with all scales in 2D, which is the same for each slice."""
    reference = ReferenceSet("vessels-2d")
    passport = read_passport(trained_on(tmp_path, reference.classifier, axes))
    raw, expected = reference.raw(), reference.probabilities()
    shape = raw.shape[:3]
    engine = load_engine("native", passport, volume_shape=shape)
    for piece in Grid(shape, tile or shape, tile or shape, passport.halo_for(shape)):
        found = engine.predict(raw[piece.box.slices], piece.core.relative_to(piece.box.lo))
        assert np.array_equal(found, expected[:, *piece.core.slices])
    if tile is None:  # one image at a time, as its owner would have it classified
        engine = load_engine("native", passport, volume_shape=(1, *shape[1:]))
        for z in (0, 17, 36):
            found = engine.predict(raw[z : z + 1], Box((0, 0, 0), (1, *shape[1:])))
            assert np.array_equal(found, expected[:, z : z + 1])


def test_probabilities_are_made_of_one_array_per_class():
    reference = ReferenceSet("label-gap")
    raw = reference.raw()
    found = engine_for(reference, raw.shape[:3]).predict(raw, whole(raw))
    assert found.flags.c_contiguous
    assert (found.shape, found.dtype) == (reference.probabilities().shape, np.float32)


@pytest.mark.parametrize("reference", CLASSIFIERS, ids=str)
def test_columns_that_the_forest_never_asks_for_change_nothing(reference):
    """Integer volumes do without them, float volumes compute all (a NaN counts in any column)."""
    raw = reference.raw()[:40, :45, :53]
    passport = read_passport(reference.classifier)
    _, forests = read_classifier(reference.classifier)
    few = tuple(replace(f, column=f.column // 3 * 3) for f in forests)
    engine = NativeEngine(passport, few, raw.shape[:3], threads=1)
    expected = engine.predict(raw.astype(np.float32), whole(raw))
    assert np.array_equal(engine.predict(raw, whole(raw)), expected)


def test_a_halo_one_voxel_too_small_is_seen():
    """The test above could fail: with less than the derived halo some voxels differ."""
    raw = ReferenceSet("nuclei").raw()
    z, y, x = read_passport(ReferenceSet("nuclei").classifier).halo_for(raw.shape[:3])
    engine = engine_for(ReferenceSet("nuclei"), raw.shape[:3])
    core = Box((24, 64, 64), (36, 192, 192))
    results = []
    for less in (0, 1):
        box = core.grown((z - less, y - less, x - less), raw.shape[:3])
        results.append(engine.predict(raw[box.slices], core.relative_to(box.lo)))
    assert np.any(results[0] != results[1])


@pytest.mark.parametrize("reference", CLASSIFIERS, ids=str)
def test_labels_are_those_of_the_probabilities(reference):
    raw = np.zeros((*reference.raw().shape[:2], 150, reference.raw().shape[3]), np.float32)
    part = reference.raw()[:, :, :64]
    raw[:, :, : part.shape[2]] = part
    raw[20, 20, 20] = np.nan
    for threads in (1, 2):
        engine = engine_for(reference, raw.shape[:3], threads)
        core = Box((3, 1, 2), raw.shape[:3])
        expected = hard_labels(engine.predict(raw, core))
        labels = engine.predict_labels(raw, core)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, expected)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_do_not_change_a_bit(threads):
    reference = ReferenceSet("two-channel")
    raw = reference.raw()
    expected = engine_for(reference, raw.shape[:3]).predict(raw, whole(raw))
    engine = engine_for(reference, raw.shape[:3], threads)
    for _ in range(2):
        assert np.array_equal(engine.predict(raw, whole(raw)), expected)


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch):
    reference = ReferenceSet("two-channel")
    raw = reference.raw()
    engine = engine_for(reference, raw.shape[:3], threads=2)
    monkeypatch.setattr(native, "_is_constant", lambda raw: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.predict(raw, whole(raw))


@pytest.mark.parametrize("reference", CLASSIFIERS, ids=str)
def test_empty_regions_take_the_short_way_to_the_same_result(reference, monkeypatch):
    channels = reference.raw().shape[3]
    for value in (0, 1, 77):
        raw = np.full((38, 41, 43, channels), value, reference.raw().dtype)
        raw[..., -1] += 1
        engine = engine_for(reference, raw.shape[:3])
        short = engine.predict(raw, whole(raw))
        with monkeypatch.context() as patch:
            patch.setattr(native, "_is_constant", lambda raw: False)
            assert np.array_equal(engine.predict(raw, whole(raw)), short)


def test_one_piece_may_be_empty_and_the_next_not(monkeypatch):
    reference = ReferenceSet("vessels-3d")
    raw = np.zeros((37, 45, 300, 1), np.uint8)
    raw[:, :, :53] = reference.raw()
    engine = engine_for(reference, raw.shape[:3])
    pieces = []
    is_constant = native._is_constant
    monkeypatch.setattr(
        native, "_is_constant", lambda raw: pieces.append(is_constant(raw)) or pieces[-1]
    )
    found = engine.predict(raw, whole(raw))
    assert sorted(set(pieces)) == [False, True]
    monkeypatch.setattr(native, "_is_constant", lambda raw: False)
    assert np.array_equal(engine.predict(raw, whole(raw)), found)


def test_the_type_of_the_voxels_does_not_matter():
    reference = ReferenceSet("vessels-3d")
    raw = reference.raw()
    engine = engine_for(reference, raw.shape[:3])
    expected = engine.predict(raw, whole(raw))
    for dtype in (np.uint16, np.float32):
        assert np.array_equal(engine.predict(raw.astype(dtype), whole(raw)), expected)
    turned = np.asfortranarray(raw)
    assert np.array_equal(engine.predict(turned, whole(raw)), expected)


def test_probabilities_of_strange_voxels():
    """NaN makes voxels of all zeros, labelled 1; elsewhere probabilities add up to 1."""
    reference = ReferenceSet("vessels-3d")
    raw = reference.raw().astype(np.float32)
    raw[18, 20, 20] = np.nan
    raw[18, 30, 45] = np.inf
    found = engine_for(reference, raw.shape[:3]).predict(raw, whole(raw))
    assert np.isfinite(found).all()
    total = found.sum(axis=0)
    empty = total == 0
    assert empty[18, 20, 20]
    assert not empty[0, 0, 0]
    np.testing.assert_allclose(total[~empty], 1, atol=1e-6)
    assert (hard_labels(found)[empty] == 1).all()


def test_labels_without_a_class_stay_at_zero():
    reference = ReferenceSet("label-gap")
    raw = reference.raw()
    found = engine_for(reference, raw.shape[:3]).predict(raw, whole(raw))
    assert not found[2].any()
    assert found[3].any()
    assert set(np.unique(hard_labels(found))) == {1, 2, 4}


def test_volumes_that_ilastik_refuses_are_refused():
    with pytest.raises(InputError, match="too small"):
        engine_for(ReferenceSet("vessels-3d"), (13, 50, 50))


def test_hard_labels():
    probabilities = np.array(
        [[0.5, 0.2, 0.0, 0.3, 1.0], [0.5, 0.4, 0.0, 0.3, 0.0], [0.0, 0.4, 0.0, 0.4, 0.0]],
        np.float32,
    )
    labels = hard_labels(probabilities.reshape(3, 1, 5))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[1, 2, 1, 3, 1]]
