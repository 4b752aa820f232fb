"""A feature is the same, bit for bit, however the volume is cut; and the halo is exact."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.passport import Feature
from tbseg_ops.engines.native.features import bricks as features_module
from tbseg_ops.engines.native.features.bricks import BrickFeatures
from tbseg_ops.geometry import Box, Index
from tests.engines.native.exactness import GENERIC, ROOT
from tests.engines.native.feature_stack import feature_stack
from tests.engines.native.slow_features import slow_features

IDS = (
    gaussians.SMOOTHING,
    gaussians.LAPLACIAN,
    gaussians.GRADIENT_MAGNITUDE,
    gaussians.DIFFERENCE,
    gaussians.STRUCTURE_TENSOR,
    gaussians.HESSIAN,
)
# 0.3: the tensor's derivative is the input itself. 0.25, 0.8: scales a user may add.
ALL_3D = tuple(Feature(id=i, scale=s, in_2d=False) for i in IDS for s in (0.25, 0.3, 0.8, 1.6))
ALL_2D = tuple(Feature(id=i, scale=s, in_2d=True) for i in IDS for s in (0.3, 1.0, 2.0))
MIXED = (*ALL_3D[::5], *ALL_2D[::4])
SHAPE = (23, 41, 83)  # more than one slab, more than one block each way


def halo_of(features: tuple[Feature, ...]) -> Index:
    reach = [(gaussians.halo_radius(f.id, f.scale), f.in_2d) for f in features]
    yx = max(r for r, _ in reach)
    return max((r for r, flat in reach if not flat), default=0), yx, yx


@cache
def volume(channels: int = 1, shape: Index = SHAPE) -> NDArray[np.uint8]:
    rng = np.random.default_rng(11)
    return rng.integers(0, 256, (*shape, channels), np.uint8)


@cache
def untiled(features: tuple[Feature, ...], channels: int = 1) -> NDArray[np.float32]:
    raw = volume(channels)
    return feature_stack(raw, features, Box((0, 0, 0), SHAPE))


@st.composite
def cores(draw: st.DrawFn, within: Index = SHAPE) -> Box:
    """Any box; its ends are often at a face, its sides often 1."""
    lo, hi = [], []
    for n in within:
        a = draw(st.sampled_from((0, n - 1)) | st.integers(0, n - 1))
        b = draw(st.sampled_from((a + 1, n)) | st.integers(a + 1, n))
        lo.append(a)
        hi.append(b)
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


@pytest.mark.parametrize(
    ("features", "channels"),
    [(ALL_3D, 1), (ALL_2D, 1), (MIXED, 2)],
    ids=["3d", "2d", "mixed-two-channels"],
)
@settings(max_examples=100, deadline=None)
@given(core=cores())
def test_any_tile_gives_what_the_whole_volume_gives(
    features: tuple[Feature, ...], channels: int, core: Box
) -> None:
    box = core.grown(halo_of(features), SHAPE)
    found = feature_stack(volume(channels)[box.slices], features, core.relative_to(box.lo))
    assert np.array_equal(found, untiled(features, channels)[:, *core.slices])


@pytest.mark.parametrize("features", [ALL_3D, ALL_2D, MIXED], ids=["3d", "2d", "mixed"])
def test_whole_volume_is_the_slow_model(features: tuple[Feature, ...]) -> None:
    assert np.array_equal(untiled(features), slow_features(volume(), features))


@pytest.mark.parametrize("scale", [0.3, 0.7, 1.0, 1.6, 3.5, 5.0, 10.0])
@pytest.mark.parametrize("in_2d", [False, True], ids=["3d", "2d"])
@pytest.mark.parametrize("feature_id", IDS)
def test_halo_is_exact(feature_id: str, scale: float, in_2d: bool) -> None:
    """With one voxel less on any side the centre changes; with the halo itself it does not."""
    features = (Feature(id=feature_id, scale=scale, in_2d=in_2d),)
    halo = gaussians.halo_radius(feature_id, scale)
    reach = np.array([0 if in_2d else halo, halo, halo])
    rng = np.random.default_rng(3)
    raw = rng.random((*(2 * reach + 5), 1), np.float32)
    # What lies just within reach must outweigh the roundings.
    for axis in range(in_2d, 3):
        for plane in (2, -3):
            raw[(slice(None),) * axis + (plane,)] += 1000 * (1 + plane)
    centre = Box(tuple(reach + 2), tuple(reach + 3))
    expected = feature_stack(raw, features, centre)
    for axis in range(in_2d, 3):
        for side in (0, 1):
            for missing in (0, 1):
                lo, hi = np.full(3, 2), np.array(raw.shape[:3]) - 2
                lo[axis] += missing * (side == 0)
                hi[axis] -= missing * (side == 1)
                box = Box(tuple(lo), tuple(hi))
                found = feature_stack(raw[box.slices], features, centre.relative_to(box.lo))
                assert np.array_equal(found, expected) == (missing == 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_values_are_taken_as_they_are(dtype: type) -> None:
    raw = volume()[:9, :20, :21].astype(dtype) * dtype(1 if dtype == np.uint8 else 257)
    core = Box((2, 3, 4), (8, 19, 20))
    found = feature_stack(raw, MIXED, core)
    assert np.array_equal(found, slow_features(raw, MIXED)[:, *core.slices])


def test_what_is_not_a_number_stays_within_reach() -> None:
    """NaN and infinity in a volume: also they must not depend on how it is cut."""
    raw = volume().astype(np.float32)
    raw[5, 20, 30], raw[15, 3, 70], raw[20, 38, 2] = np.nan, np.inf, np.nan
    halo = halo_of(MIXED)
    whole = feature_stack(raw, MIXED, Box((0, 0, 0), SHAPE))
    assert 0 < np.isnan(whole).mean() < 0.5
    for core in Box((0, 0, 0), SHAPE).blocks((7, 19, 23)):
        box = core.grown(halo, SHAPE)
        found = feature_stack(raw[box.slices], MIXED, core.relative_to(box.lo))
        assert np.array_equal(found, whole[:, *core.slices], equal_nan=True)


def test_a_scale_may_be_selected_twice() -> None:
    core = Box((0, 0, 0), (5, 9, 10))
    once = feature_stack(volume(2), MIXED, core)
    twice = feature_stack(volume(2), MIXED + MIXED, core)
    assert np.array_equal(twice, np.concatenate([once, once]))


def test_bricks_are_the_stack_in_raster_order() -> None:
    """One voxel after the other, with nothing of ``feature_stack``."""
    core = Box((1, 2, 3), (8, 12, 20))
    maker = BrickFeatures(MIXED, 1)
    expected = untiled(MIXED)[:, *core.slices]
    assert maker.columns == len(expected)
    depth = 0
    for z0, planes, bricks in maker.slabs(volume(), core):
        assert z0 == depth
        depth += planes
        assert bricks.flags.c_contiguous
        assert np.isfinite(bricks).all()
        ny, nx = 3, 5
        assert bricks.shape == (-(-planes // 4) * ny * nx, maker.columns, 64)
        for z, y, x in np.ndindex(planes, *core.shape[1:]):
            brick = (z // 4 * ny + y // 4) * nx + x // 4
            voxel = z % 4 * 16 + y % 4 * 4 + x % 4
            assert np.array_equal(bricks[brick, :, voxel], expected[:, z0 + z, y, x])
    assert depth == core.shape[0]


def test_depth_of_slabs_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Box((1, 0, 5), (22, 9, 33))
    monkeypatch.setattr(features_module, "_BRICK_BYTES", 1)
    depths = [planes for _, planes, _ in BrickFeatures(MIXED, 1).slabs(volume(), core)]
    assert depths == [4, 4, 4, 4, 4, 1]
    assert np.array_equal(feature_stack(volume(), MIXED, core), untiled(MIXED)[:, *core.slices])


def test_buffers_of_other_tiles_leave_no_trace() -> None:
    maker = BrickFeatures(MIXED, 1)
    small, large = Box((4, 4, 4), (9, 8, 13)), Box((0, 0, 0), (20, 41, 83))

    def bricks(core: Box) -> list[NDArray[np.float32]]:
        return [b.copy() for _, _, b in maker.slabs(volume(), core)]

    fresh = bricks(small)
    bricks(large)
    inside = np.s_[:1, :, :16]  # a first brick's plane holds core voxels only
    assert all(
        np.array_equal(a[inside], b[inside]) for a, b in zip(fresh, bricks(small), strict=True)
    )


def test_columns_nobody_needs_are_not_made() -> None:
    core = Box((0, 0, 0), (5, 9, 10))
    every = next(BrickFeatures(ALL_3D, 1).slabs(volume(), core))[2]
    needed = {0, 5, every.shape[1] - 2}
    some = next(BrickFeatures(ALL_3D, 1, needed).slabs(volume(), core))[2]
    assert some.shape == every.shape
    made = (some[0] != 0).any(axis=1)
    assert needed <= set(np.flatnonzero(made))
    assert np.array_equal(some[0][made], every[0][made])
    # The eigenvalues of one matrix come together.
    assert made.sum() == 2 + 3


def test_one_plane_in_2d() -> None:
    features = ALL_2D
    raw = volume()[7:8]
    found = feature_stack(raw, features, Box((0, 0, 0), raw.shape[:3]))
    assert np.array_equal(found, untiled(features)[:, 7:8])


_DIGEST = """
import hashlib
from tests.engines.native.test_tiling import ALL_2D, ALL_3D, SHAPE, untiled
print(hashlib.sha256(untiled(ALL_3D).tobytes() + untiled(ALL_2D).tobytes()).hexdigest())
"""


def test_any_processor_gives_the_same_bytes(generic_kernels: Path) -> None:
    """Compiled for the oldest 64-bit processors, without vector multiply-add."""
    generic = {**GENERIC, "NUMBA_CACHE_DIR": str(generic_kernels)}
    found = [
        subprocess.run(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, **extra},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for extra in ({}, generic)
    ]
    assert found[0] == found[1] != ""
