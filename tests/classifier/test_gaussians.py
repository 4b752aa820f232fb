import subprocess
import sys

import numpy as np
import pytest

from tbseg_ops.classifier import gaussians
from tbseg_ops.errors import InputError

SIGMAS = (0.3, 0.35, 0.462, 0.5, 0.66, 0.7, 1.0, 1.249, 3.354, 9.95)


@pytest.mark.parametrize(
    ("scale", "halo", "tensor_halo", "side"),
    [
        (0.3, 2, 2, 3),
        (0.7, 3, 4, 4),
        (1.0, 6, 7, 5),
        (1.6, 6, 7, 7),
        (3.5, 14, 15, 14),
        (5.0, 19, 20, 19),
        (10.0, 37, 38, 36),
    ],
)
def test_reach_of_ilastiks_scales(scale: float, halo: int, tensor_halo: int, side: int) -> None:
    for feature in (
        gaussians.SMOOTHING,
        gaussians.LAPLACIAN,
        gaussians.GRADIENT_MAGNITUDE,
        gaussians.DIFFERENCE,
        gaussians.HESSIAN,
    ):
        assert gaussians.halo_radius(feature, scale) == halo
    assert gaussians.halo_radius(gaussians.STRUCTURE_TENSOR, scale) == tensor_halo
    assert gaussians.minimum_side(scale) == side


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("window", [2.0, 3.5])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_moments(sigma: float, window: float, order: int) -> None:
    """What each kernel makes of a constant, a ramp and a parabola."""
    taps = gaussians.taps(sigma, order, window).astype(np.float64)
    n = len(taps) - 1
    assert n == gaussians.radius(sigma, window)
    x = np.arange(-n, n + 1.0)
    # A pass adds c_k * (right - left), so order 1 runs against x as a convolution does.
    whole = np.concatenate([taps[:0:-1] * (-1 if order == 1 else 1), taps])
    moments = [(whole * x**k).sum() for k in range(3)]
    expected = {0: [1, 0], 1: [0, -1], 2: [0, 0, 2]}[order]
    tolerance = 1e-6 * max(1, n) ** 2
    assert moments[: len(expected)] == pytest.approx(expected, abs=tolerance)


def test_first_derivative_without_neighbours_is_the_identity() -> None:
    assert gaussians.radius(0.15, gaussians.FEATURE_WINDOW) == 0
    assert gaussians.taps(0.15, 1, gaussians.FEATURE_WINDOW).tolist() == [1.0]


def test_second_derivative_without_neighbours_is_refused() -> None:
    with pytest.raises(InputError, match="second derivative"):
        gaussians.taps(0.2, 2, gaussians.FEATURE_WINDOW)


def test_presmoothing_adds_up_to_the_scale() -> None:
    for scale in (1.6, 3.5, 10.0):
        first, second = gaussians.presmooth_sigma(scale), gaussians.feature_sigma(scale)
        assert first**2 + second**2 == pytest.approx(scale**2)
    assert gaussians.presmooth_sigma(0.7) == gaussians.feature_sigma(0.7) == 0.7


def test_planning_does_not_load_numba() -> None:
    code = "import sys; import tbseg_ops.classifier.gaussians; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
