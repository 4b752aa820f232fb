"""Odd tiles: against a plain count of the neighbours, and where there are few or none."""

from itertools import product
from statistics import median_high, median_low
from types import SimpleNamespace

import numpy as np
import pytest

from tbseg_ops.run.odd import Odd, odd_tiles, share_of

LABELS = ("Background", "Cell")


def shares(cells):
    """(z, y, x) of one class -> (z, y, x, class) of two."""
    cells = np.asarray(cells, np.float32)
    return np.stack([1 - cells, cells], axis=-1)


def plainly(grid):
    """Positions, by loops."""
    found, edged = set(), np.pad(grid, ((1, 1), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    for z, y, x in product(*map(range, grid.shape[:3])):
        steps = ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2))
        around = [edged[z + dz, y + dy, x + dx] for dz, dy, dx in steps]
        around = [other for other in around if np.isfinite(other).all()]
        for i, own in enumerate(grid[z, y, x]) if len(around) >= 2 else ():
            others = [float(other[i]) for other in around]
            if own < median_low(others) - 0.25 or own > median_high(others) + 0.25:
                found.add((z, y, x))
    return found


@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 6, 6), (1, 1, 4), (1, 1, 1)])
def test_as_a_plain_count_says(shape, missing):
    random = np.random.default_rng(sum(shape))
    grid = shares(random.random(shape))
    grid[random.random(shape) < missing] = np.nan
    assert {odd.position for odd in odd_tiles(grid)} == plainly(grid)


def test_a_tile_that_differs_is_told_in_words():
    cells = np.full((3, 3, 3), 0.1)
    cells[1, 1, 1] = 0.8
    (odd,) = odd_tiles(shares(cells))
    assert odd == Odd((1, 1, 1), 0, pytest.approx(0.2), pytest.approx(0.9))
    assert odd.words(LABELS) == "20 % Background, its neighbours 90 %"


def test_the_oddest_comes_first():
    cells = np.zeros((1, 1, 9))
    cells[0, 0, [2, 6]] = 0.4, 0.9
    assert [odd.position[2] for odd in odd_tiles(shares(cells))][:2] == [6, 2]


def test_a_gradient_is_not_odd():
    cells = np.linspace(0, 1, 8).reshape(1, 1, 8) * np.ones((4, 4, 1))
    assert not odd_tiles(shares(cells))


@pytest.mark.parametrize(
    ("counts", "shares"),
    [((6, 2), (0.75, 0.25)), ((6, 2, 4), (0.75, 0.25)), ((0, 0), None), ((8,), None), (None, None)],
)
def test_the_shares_of_a_tile(counts, shares):
    record = None if counts is None else SimpleNamespace(counts=counts)
    found = share_of(record, 2)
    assert np.array_equal(found, shares or [np.nan, np.nan], equal_nan=True)
