"""Does it fit? What is warned of, what is not, and how often it is said without need."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.classifier.training import TrainingData
from tbseg_ops.engines import load_engine
from tbseg_ops.geometry import Box
from tbseg_ops.run.fit import class_warnings, input_warnings
from tbseg_ops.volume import VolumeInfo, open_source
from tbseg_ops.volume.sample import sample
from tests.classifier.projects import changed, replace
from tests.reference_sets import CLASSIFIERS, LARGE, SMALL, ReferenceSet
from tests.synthetic import axistags, write_hdf5

Volume = NDArray[Any]  # (z, y, x, c)
RAW_DATA = "Input Data/infos/lane0000/Raw Data"
VESSELS = ReferenceSet("vessels-3d")
CROP = 96  # voxels a side of what is taken of a larger volume


@cache
def passport_of(name: str) -> Passport:
    return read_passport(ReferenceSet(name).classifier)


def info_of(volume: Volume, **more: Any) -> VolumeInfo:
    values = {"dtype": str(volume.dtype), "kind": "hdf5", **more}
    return VolumeInfo(shape=volume.shape[:3], channels=volume.shape[3], **values)


def warned(passport: Passport, volume: Volume, **more: Any) -> tuple[str, ...]:
    values = volume.reshape(-1, volume.shape[3])
    return input_warnings(passport, info_of(volume, **more), values)


def fitted(values: NDArray[Any], dtype: Any) -> Volume:
    """Rounded, and cut off where the type ends, as a camera or a conversion does it."""
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def noisy(volume: Volume, share: float) -> Volume:
    noise = np.random.default_rng(0).normal(0, share * np.percentile(volume, 99), volume.shape)
    return fitted(volume + noise, volume.dtype)


def padded(volume: Volume) -> Volume:
    """Two thirds lie outside of the specimen."""
    made = volume.copy()
    made[:, :, : 2 * volume.shape[2] // 3] = 0
    return made


def shaded(volume: Volume) -> Volume:
    light = np.linspace(0.5, 1.5, volume.shape[2])[:, None]
    return fitted(volume * light, volume.dtype)


# What a microscope gives on another day. Some of these make the result worse, but none nonsense.
PLAUSIBLE: dict[str, Callable[[Volume], Volume]] = {
    "the same": lambda v: v,
    "brighter by 1.3": lambda v: fitted(v * 1.3, v.dtype),
    "brighter by 1.5": lambda v: fitted(v * 1.5, v.dtype),
    "darker by 0.7": lambda v: fitted(v * 0.7, v.dtype),
    "half as bright": lambda v: fitted(v * 0.5, v.dtype),
    "half the contrast": lambda v: fitted(v.mean() + (v - v.mean()) / 2, v.dtype),
    "a little noise": lambda v: noisy(v, 0.1),
    "much noise": lambda v: noisy(v, 0.3),
    "an offset": lambda v: fitted(v + 0.2 * np.percentile(v, 99), v.dtype),
    "smoother": lambda v: (v // 3 + np.roll(v, 1, 2) // 3 + np.roll(v, -1, 2) // 3).astype(v.dtype),
    "saturated": lambda v: np.minimum(v, np.percentile(v, 97).astype(v.dtype)),
    "uneven light": shaded,
    "mostly padding": padded,
    "turned round": lambda v: v[::-1, :, ::-1],
    "one region": lambda v: v[:, : v.shape[1] // 2, : v.shape[2] // 2],
    "another region": lambda v: v[:, v.shape[1] // 2 :, v.shape[2] // 2 :],
    "one plane": lambda v: v[:1],
    "as float": lambda v: v.astype(np.float32),
    "as 16 bit": lambda v: v.astype(np.uint16),
}
FALSE_ALARMS = 0  # of all reference sets in each of these; docs/fit.md tells it


@pytest.mark.parametrize("reference", [*SMALL, *LARGE], ids=str)
def test_no_warning_where_it_was_trained_for(reference):
    passport = passport_of(reference.name)
    with open_source(str(reference.volume)) as source:
        assert input_warnings(passport, source.info, sample(source)) == ()
    counts = np.bincount(reference.labels().reshape(-1), minlength=len(passport.labels) + 1)
    assert class_warnings(passport, counts[1:].tolist()) == ()


def test_false_alarms():
    found = [
        (reference.name, name, text)
        for reference in CLASSIFIERS
        for name, change in PLAUSIBLE.items()
        for text in warned(passport_of(reference.name), change(reference.raw()))
    ]
    assert len(PLAUSIBLE) * len(CLASSIFIERS) == 114
    assert len(found) <= FALSE_ALARMS, found


@pytest.mark.parametrize("name", sorted(PLAUSIBLE.keys() - {"one plane"}))
def test_false_alarms_after_classification(name):
    passport = passport_of(VESSELS.name)
    volume = np.ascontiguousarray(PLAUSIBLE[name](VESSELS.raw()))
    engine = load_engine("native", passport, volume_shape=volume.shape[:3])
    labels = engine.predict_labels(volume, Box((0, 0, 0), volume.shape[:3]))
    counts = np.bincount(labels.reshape(-1), minlength=3)[1:].tolist()
    assert class_warnings(passport, counts) == ()


# Name: what is done to a volume; the words by which it is told, if its classifier can tell.
MISFITS: dict[str, tuple[Callable[[Volume], Volume], dict[str, str]]] = {
    "16-bit raw, trained on an 8-bit view": (
        lambda v: fitted(v * 40.0 + 300, np.uint16),
        {"vessels-3d": "trained on data scaled to 8 bit", "nuclei": "above all"},
    ),
    "an 8-bit view, trained on 16-bit raw": (
        lambda v: fitted(v / 256, np.uint8),
        {"vessels-3d": "below all", "nuclei": "of 8 bit, and the trees ask for"},
    ),
    "8-bit values in 16 bit, trained on 16-bit raw": (
        lambda v: fitted(v / 256, np.uint16),
        {"vessels-3d": "below all", "nuclei": "this volume was scaled to 8 bit"},
    ),
    "12 of 16 bit": (
        lambda v: fitted(v * 16.0, np.uint16),
        {"vessels-3d": "above all", "nuclei": "above all"},
    ),
    "16-bit raw in zeros": (
        lambda v: padded(fitted(v * 40.0, np.uint16)),
        {"vessels-3d": "100.0 % of the voxels are above", "nuclei": "above all"},
    ),
    "scaled to 0..1": (
        lambda v: (v / v.max()).astype(np.float32),
        {"vessels-3d": "this volume was scaled to 0..1", "nuclei": "scaled to 0..1"},
    ),
    "empty": (np.zeros_like, {"vessels-3d": "are 0, and the trees", "nuclei": "are 0, and"}),
    "not a number": (
        lambda v: np.full_like(v, np.nan, np.float32),
        {"vessels-3d": "finite", "nuclei": "finite"},
    ),
}


@pytest.mark.parametrize(("change", "words"), MISFITS.values(), ids=MISFITS)
def test_misfits(change, words):
    for name, word in words.items():
        (text,) = warned(passport_of(name), change(ReferenceSet(name).raw()[:, :CROP, :CROP]))
        assert word in text
        assert text[-1].isalnum() or text.endswith(")"), "one sentence; its full stop is the page's"


def test_each_channel_is_told_by_its_number():
    passport, volume = passport_of("two-channel"), ReferenceSet("two-channel").raw().copy()
    volume[..., 1] = 0
    (text,) = warned(passport, volume)
    assert text.startswith("channel 2: all voxels that were looked at are 0")


def test_what_knows_derivatives_only_says_nothing_of_values():
    passport = passport_of(VESSELS.name)
    training = passport.training.model_copy(update={"thresholds": (None,)})
    silent = passport.model_copy(update={"training": training})
    assert warned(silent, fitted(VESSELS.raw() * 40.0 + 300, np.uint16)) == ()


# What the project says of its training volume.

SIZE = (2.0, 1.0, 1.0)
TRAINED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # name: facts of the training, facts of the volume, words of the warning
    "same size": ({"voxel_size": SIZE, "units": ("um",) * 3}, {"voxel_size": SIZE}, ""),
    "other words": ({"voxel_size": SIZE, "units": ("micron",) * 3}, {"voxel_size": SIZE}, ""),
    "half as large": (
        {"voxel_size": SIZE, "units": ("um",) * 3},
        {"voxel_size": (1.0, 0.5, 0.5)},
        "see things 2 x 2 x 2 times as large",
    ),
    "in nanometres": (
        {"voxel_size": (2000.0, 1000.0, 1000.0), "units": ("nm",) * 3},
        {"voxel_size": (2.0, 2.0, 2.0)},
        "in training they were 2 x 1 x 1 um: features see things 1 x 0.5 x 0.5 times",
    ),
    "a little": ({"voxel_size": SIZE, "units": ("um",) * 3}, {"voxel_size": (2.8, 0.7, 1.0)}, ""),
    "unknown words": ({"voxel_size": SIZE, "units": ("ell",) * 3}, {"voxel_size": (9, 9, 9)}, ""),
    "no unit on either side": (
        {"voxel_size": SIZE}, {"voxel_size": (9.0, 9.0, 9.0), "unit": None}, "9 x 9 x 9 (z, y, x)"
    ),
    "a unit on one side": ({"voxel_size": SIZE}, {"voxel_size": (9.0, 9.0, 9.0)}, ""),
    "unknown here": ({"voxel_size": SIZE, "units": ("um",) * 3}, {}, ""),
    "8-bit range": ({"value_range": (0.0, 255.0)}, {}, ""),
    "smaller range": ({"value_range": (0.0, 20.0)}, {}, "go from 0 to 20 by the project"),
}  # fmt: skip


@pytest.mark.parametrize(("training", "volume", "word"), TRAINED.values(), ids=TRAINED)
def test_what_the_project_says(training, volume, word):
    passport = passport_of(VESSELS.name)
    told = passport.training.model_copy(update=training)
    texts = warned(
        passport.model_copy(update={"training": told}), VESSELS.raw(), **{"unit": "um", **volume}
    )
    assert [word in text for text in texts] == [True] * bool(word)


def test_training_data_are_read_and_decide_nothing(tmp_path):
    def told(file):
        replace(file, f"{RAW_DATA}/axistags", axistags("zyx", 0.5).encode())
        replace(file, f"{RAW_DATA}/axis_units", b'{"z": "micron", "y": "um", "x": "um"}')
        replace(file, f"{RAW_DATA}/drange", np.array([0, 255]))

    passport = read_passport(changed(tmp_path, told, VESSELS.classifier))
    low, high = passport.training.thresholds[0]
    assert (round(low, 2), round(high, 2)) == (12.33, 123.3)
    assert passport.training == TrainingData(
        axes="zyx",
        shape=(128, 128, 128),
        value_range=(0, 255),
        voxel_size=(0.5, 0.5, 0.5),
        units=("micron", "um", "um"),
        thresholds=((low, high),),
    )
    assert passport.digest == passport_of(VESSELS.name).digest


ODD: dict[str, tuple[str, Any]] = {
    "units that are a list": ("axis_units", b'["um", "um", "um"]'),
    "units that are no JSON": ("axis_units", b"{"),
    "units that are deep": ("axis_units", b"[" * 100_000),
    "a range of three": ("drange", np.arange(3)),
    "a range that is none": ("drange", np.array([np.nan, np.inf])),
    "a range of text": ("drange", [b"a", b"b"]),
    "units that are numbers": ("axis_units", 3),
}


@pytest.mark.parametrize(("name", "value"), ODD.values(), ids=ODD)
def test_odd_facts_are_no_facts(tmp_path, name, value):
    def edit(file):
        replace(file, f"{RAW_DATA}/axistags", axistags("zyx", 0.5).encode())
        replace(file, f"{RAW_DATA}/{name}", value)

    training = read_passport(changed(tmp_path, edit, VESSELS.classifier)).training
    assert training.value_range is None
    assert training.units is None
    assert training.shape == (128, 128, 128)


# The result.

CLASSES: dict[str, tuple[tuple[int, ...], str, str]] = {
    # name: voxels of background, wall, unused (never drawn), lumen; tiles; words
    "all there": ((600, 300, 0, 100), "", ""),
    "a class is empty": ((600, 400, 0, 0), "", "no voxel is 'lumen', which the classifier knows"),
    "two are": ((0, 1000, 0, 0), "", "100.00 % of the voxels are 'wall', one of 3 classes"),
    "one nearly everywhere": ((99_950, 20, 0, 30), "", "99.95 % of the voxels are 'background'"),
    "one is most": ((99_800, 100, 0, 100), "", ""),
    "some tiles": ((600, 400, 0, 0), "the 3 tiles done so far", ""),
    "one class in them": ((0, 0, 0, 9), "the 3 tiles done so far", "of the 3 tiles done so far"),
    "all outside of the mask": ((0, 0, 0, 0), "", ""),
}


@pytest.mark.parametrize(("counts", "tiles", "word"), CLASSES.values(), ids=CLASSES)
def test_classes(counts, tiles, word):
    texts = class_warnings(passport_of("label-gap"), counts, tiles)
    assert [word in text for text in texts] == [True] * bool(word)


def test_the_sample_is_spread_over_the_volume(tmp_path):
    z, y, x = np.ogrid[:20, :1030, :8]
    volume = (2000 * z + y + 0 * x).astype(np.uint16)
    with open_source(str(write_hdf5(tmp_path / "v.h5", volume, axes="zyx"))) as source:
        values = sample(source)
    assert values.shape == (8 * 515 * 8, 1)
    assert sorted(set((values // 2000).reshape(-1).tolist())) == [1, 3, 6, 8, 11, 13, 16, 18]
    assert sorted(set((values % 2000).reshape(-1)[: 515 * 8].tolist()))[:3] == [0, 2, 4]
