import numpy as np
import pytest
from numpy.typing import NDArray

from tbseg_ops.engines.native.features.eigenvalues import eigenvalues_2x2, eigenvalues_3x3
from tbseg_ops.engines.native.features.simd import LANES, load, pointer, store
from tbseg_ops.engines.native.jit import compiled

Floats = NDArray[np.float32]


@compiled
def _all_3x3(a: Floats, n: int, out: Floats) -> None:
    for i in range(0, n, LANES):
        e0, e1, e2 = eigenvalues_3x3(
            load(pointer(a), i),
            load(pointer(a), n + i),
            load(pointer(a), 2 * n + i),
            load(pointer(a), 3 * n + i),
            load(pointer(a), 4 * n + i),
            load(pointer(a), 5 * n + i),
        )
        store(pointer(out), i, e0)
        store(pointer(out), n + i, e1)
        store(pointer(out), 2 * n + i, e2)


@compiled
def _all_2x2(a: Floats, n: int, out: Floats) -> None:
    for i in range(0, n, LANES):
        e0, e1 = eigenvalues_2x2(
            load(pointer(a), i), load(pointer(a), n + i), load(pointer(a), 2 * n + i)
        )
        store(pointer(out), i, e0)
        store(pointer(out), n + i, e1)


def of_3x3(matrices: Floats) -> Floats:
    """(n, 3, 3) symmetric -> (n, 3)."""
    n = len(matrices)
    whole = -(-n // LANES) * LANES
    z, y, x = 0, 1, 2
    entries = ((z, z), (y, z), (x, z), (y, y), (x, y), (x, x))
    flat = np.zeros((6, whole), np.float32)
    flat[:, :n] = [matrices[:, i, j] for i, j in entries]
    out = np.empty(3 * whole, np.float32)
    _all_3x3(flat.reshape(-1), whole, out)
    return out.reshape(3, whole)[:, :n].T


def of_2x2(matrices: Floats) -> Floats:
    """(n, 2, 2) symmetric -> (n, 2)."""
    n = len(matrices)
    whole = -(-n // LANES) * LANES
    flat = np.zeros((3, whole), np.float32)
    flat[:, :n] = [matrices[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1))]
    out = np.empty(2 * whole, np.float32)
    _all_2x2(flat.reshape(-1), whole, out)
    return out.reshape(2, whole)[:, :n].T


def matrices(kind: str, side: int, n: int = 5000) -> Floats:
    rng = np.random.default_rng(7)
    a = rng.standard_normal((n, side, side))
    v = rng.standard_normal((n, side))
    eye = np.eye(side)
    made = {
        "random": a + a.transpose(0, 2, 1),
        "diagonal": a * eye,
        "multiple of one": v[:, :1, None] * eye,
        "rank one": v[:, :, None] * v[:, None, :],
        "nearly singular": v[:, :, None] * v[:, None, :] + 1e-6 * (a + a.transpose(0, 2, 1)),
        "tiny": 1e-30 * (a + a.transpose(0, 2, 1)),
        "huge": 1e30 * (a + a.transpose(0, 2, 1)),
        "zero": 0 * a,
        "off-diagonal": (a + a.transpose(0, 2, 1)) * (1 - eye),
    }[kind]
    return made.astype(np.float32)


KINDS = (
    "random",
    "diagonal",
    "multiple of one",
    "rank one",
    "nearly singular",
    "tiny",
    "huge",
    "zero",
    "off-diagonal",
)


# Only the 3x3 form scales its matrix first; the 2x2 form squares what it is given.
@pytest.mark.parametrize(
    ("side", "kind"),
    [(3, kind) for kind in KINDS] + [(2, kind) for kind in KINDS if kind not in ("tiny", "huge")],
)
def test_as_lapack(side: int, kind: str) -> None:
    a = matrices(kind, side)
    found = (of_3x3 if side == 3 else of_2x2)(a)
    expected = np.linalg.eigvalsh(a.astype(np.float64))[:, ::-1]
    size = np.abs(a).max(axis=(1, 2), keepdims=True)[:, :, 0] + 1e-45
    # The trigonometric form loses half of the digits where two eigenvalues meet.
    assert (np.abs(found - expected) / size).max() < (1e-3 if side == 3 else 1e-6)
    assert (np.diff(found, axis=1) <= 0).all()


def test_typical_accuracy_3x3() -> None:
    a = matrices("random", 3)
    expected = np.linalg.eigvalsh(a.astype(np.float64))[:, ::-1]
    assert np.median(np.abs(of_3x3(a) - expected)) < 1e-6


@pytest.mark.parametrize("entry", [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)])
def test_nan_in_the_matrix_is_nan_in_all_its_eigenvalues_and_in_no_other(
    entry: tuple[int, int],
) -> None:
    clean = matrices("random", 3, 20)
    a = clean.copy()
    a[3, *entry] = a[3, *entry[::-1]] = np.nan
    found = of_3x3(a)
    assert np.isnan(found[3]).all()
    assert np.array_equal(np.delete(found, 3, 0), np.delete(of_3x3(clean), 3, 0))


def test_place_among_the_lanes_does_not_matter() -> None:
    a = matrices("random", 3, 64)
    whole = of_3x3(a)
    for first in range(1, 17):
        assert np.array_equal(of_3x3(a[first:]), whole[first:])
