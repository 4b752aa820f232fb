"""The classes of a box: those that a run of the whole volume has there, which are ilastik's own."""

import numpy as np
import pytest

from tbseg_ops.errors import UsageError
from tbseg_ops.geometry import Box
from tbseg_ops.look.classes import MOST_VOXELS, box_of, labels_of
from tbseg_ops.look.subject import Subject
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS, stack
from tests.synthetic import write_hdf5

NUCLEI, FLAT = ReferenceSet("nuclei"), ReferenceSet("vessels-2d")


@pytest.mark.parametrize(
    ("of", "lo", "hi"),
    [
        (VESSELS, (0, 0, 0), (5, 9, 11)),  # at the faces of the volume
        (NUCLEI, (20, 100, 90), (30, 140, 130)),
        (ReferenceSet("two-channel"), (2, 3, 4), (9, 20, 21)),
        (FLAT, (0, 5, 6), (1, 30, 31)),
    ],
    ids=str,
)
def test_a_box_has_the_labels_of_the_whole_without_tiles(of, lo, hi):
    subject = Subject(volume=f"{of.volume}:/data", classifier=str(of.classifier))
    raw, labels = labels_of(subject, Box(lo, hi), threads=2)
    assert np.array_equal(labels, of.labels()[Box(lo, hi).slices])
    assert np.array_equal(raw, of.raw()[Box(lo, hi).slices])


def test_of_slices_in_reversed_order_and_within_a_mask(tmp_path):
    inside = np.zeros(VESSELS.raw().shape[:3], np.uint8)
    inside[12:20, 10:30, :25] = 3
    subject = Subject(
        volume=str(stack(tmp_path / "slices", VESSELS.raw()[::-1, ..., 0])),
        order="reversed",
        classifier=str(VESSELS.classifier),
        mask=str(write_hdf5(tmp_path / "mask.h5", inside, axes="zyx")),
    )
    box = Box((10, 12, 13), (30, 31, 37))
    expected = np.where(inside != 0, VESSELS.labels(), 0)[box.slices]
    assert set(np.unique(expected)) >= {0, 1}
    assert np.array_equal(labels_of(subject, box)[1], expected)


@pytest.mark.parametrize(
    "value",
    [
        *(None, {}, [], {"lo": [0, 0, 0]}, {"lo": [0, 0], "hi": [1, 1]}, {"lo": 1, "hi": 2}),
        *({"lo": [0, 0, 0], "hi": [1, 1, 0]}, {"lo": [0, 0, 0], "hi": [1, 1, True]}),
        *({"lo": ["0", 0, 0], "hi": [1, 1, 1]}, {"lo": [0, 0, 0], "hi": [1, 1, 1.5]}),
    ],
)
def test_what_is_no_box(value):
    with pytest.raises(UsageError, match="no box"):
        box_of(value)


def test_a_box_has_bounds():
    assert box_of({"lo": [1, 2, 3], "hi": [129, 130, 131]}).size == MOST_VOXELS
    for hi in ([129, 128, 128], [1, 1, 1025]):
        with pytest.raises(UsageError, match="too large for a preview"):
            box_of({"lo": [0, 0, 0], "hi": hi})
    subject = Subject(volume=f"{VESSELS.volume}:/data", classifier=str(VESSELS.classifier))
    for box in (Box((-1, 0, 0), (5, 5, 5)), Box((0, 0, 0), (5, 5, 54))):
        with pytest.raises(UsageError, match="does not lie in the volume"):
            labels_of(subject, box)
