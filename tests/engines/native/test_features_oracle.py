"""Features against ilastik's own, bit for bit, and against a plain model of the same arithmetic.

One thing in ilastik depends on its blocks: it computes 3x3 eigenvalues by eights, and what is left
at the very end of a block one by one, with other roundings. The plain model does that too where it
is asked to, so nothing is left unexplained; tbseg does not.
"""

from typing import NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.passport import Feature, read_passport
from tbseg_ops.geometry import Box
from tests.engines.native.feature_stack import feature_stack
from tests.engines.native.slow_features import slow_features
from tests.reference_sets import SMALL, ReferenceSet

AT_ONCE = 8  # voxels of which ilastik computes eigenvalues together


class Oracle(NamedTuple):
    raw: NDArray[np.uint8]
    features: tuple[Feature, ...]
    planes: NDArray[np.int64]
    ilastik: NDArray[np.float32]  # (columns, planes, y, x)

    @property
    def alone(self) -> int:
        """How many voxels, at the end of the volume, are fewer than ilastik takes at once."""
        return self.raw[..., 0].size % AT_ONCE


@pytest.fixture(scope="module", params=SMALL, ids=str)
def oracle(request: pytest.FixtureRequest) -> Oracle:
    reference: ReferenceSet = request.param
    raw = reference.raw()
    passport = read_passport(reference.classifier)
    with h5py.File(reference.folder / "features.h5") as file:
        stored = file["exported_data"]
        return Oracle(raw, passport.features_for(raw.shape[:3]), stored.attrs["planes"], stored[()])


def column_names(features: tuple[Feature, ...], channels: int) -> list[str]:
    return [
        f"{feature.id} {feature.scale} channel {channel} value {k}"
        for feature in features
        for channel in range(channels)
        for k in range(feature.columns())
    ]


def test_features_are_ilastiks_bit_for_bit(oracle: Oracle) -> None:
    whole = Box((0, 0, 0), oracle.raw.shape[:3])
    differs = feature_stack(oracle.raw, oracle.features, whole)[:, oracle.planes] != oracle.ilastik
    assert oracle.planes[-1] == oracle.raw.shape[0] - 1
    names = column_names(oracle.features, oracle.raw.shape[3])
    eigenvalues = ["Eigenvalues" in name for name in names]
    differs[eigenvalues, -1, -1, -oracle.alone :] = False
    assert [n for n, any_ in zip(names, differs.any(axis=(1, 2, 3)), strict=True) if any_] == []


def test_the_last_voxels_of_ilastik_are_computed_one_by_one(oracle: Oracle) -> None:
    model = slow_features(oracle.raw, oracle.features, oracle.alone)[:, oracle.planes]
    assert np.array_equal(model, oracle.ilastik)


def test_features_are_the_plain_model_bit_for_bit(oracle: Oracle) -> None:
    whole = Box((0, 0, 0), oracle.raw.shape[:3])
    found = feature_stack(oracle.raw, oracle.features, whole)
    expected = slow_features(oracle.raw, oracle.features)
    names = column_names(oracle.features, oracle.raw.shape[3])
    assert len(names) == len(found)
    assert [n for n, a, b in zip(names, found, expected, strict=True) if (a != b).any()] == []


def test_every_feature_of_ilastik_is_covered() -> None:
    seen = {
        (f.id, f.scale, f.in_2d)
        for reference in SMALL
        for f in read_passport(reference.classifier).features_for(reference.raw().shape[:3])
    }
    ids = (
        gaussians.SMOOTHING,
        gaussians.LAPLACIAN,
        gaussians.GRADIENT_MAGNITUDE,
        gaussians.DIFFERENCE,
        gaussians.STRUCTURE_TENSOR,
        gaussians.HESSIAN,
    )
    in_3d = {(i, s) for i, s, flat in seen if not flat}
    # ilastik's dialog offers scale 0.3 for smoothing alone.
    assert in_3d == {(i, s) for i in ids for s in (0.7, 1.0, 1.6, 3.5, 5.0, 10.0)} | {
        (gaussians.SMOOTHING, 0.3)
    }
    assert {i for i, _, flat in seen if flat} == set(ids)
