"""Boxes and grids, by property."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tbseg_ops.geometry import Box, Grid

sides = st.integers(1, 16)
shapes = st.tuples(st.integers(1, 60), sides, sides)
halos = st.tuples(*[st.integers(0, 12)] * 3)


@given(shapes, shapes, halos)
def test_cores_cover_the_volume_exactly_once(volume, tile, halo):
    grid = Grid.balanced(volume, tile, halo)
    seen = np.zeros(volume, np.uint8)
    for t in grid:
        seen[t.core.slices] += 1
        assert t.box.contains(t.core)
        assert grid.by_name(t.name) == t
    assert (seen == 1).all()


@given(shapes, shapes, halos)
def test_cores_lie_on_the_chunk_grid(volume, tile, halo):
    grid = Grid.balanced(volume, tile, halo)
    for t in grid:
        for lo, hi, chunk, n in zip(t.core.lo, t.core.hi, grid.chunk, volume, strict=True):
            assert lo % chunk == 0
            assert hi % chunk == 0 or hi == n
    assert all(c <= n for c, n in zip(grid.chunk, volume, strict=True))


@given(shapes, shapes, halos, st.integers(1, 90))
@example((5, 1, 1), (3, 1, 1), (0, 0, 0), 4)
def test_a_grid_goes_on_over_a_volume_of_another_length(volume, tile, halo, depth):
    """Tiles whose box ends before both ends are the same; all others cover the rest."""
    before = Grid.balanced(volume, tile, halo)
    after = before.over((depth, *volume[1:]), tile)
    if after is None:
        assert (
            before.core[0] > depth
            or 2 * before.core[0] < tile[0]
            or before.core[0] % (before.chunk[0])
        )
        return
    seen = np.zeros(after.volume, np.uint8)
    for t in after:
        seen[t.core.slices] += 1
        assert t.core.lo[0] % after.chunk[0] == 0
        # Also without a halo, the tile at the end of the shorter volume may have been cut there.
        if t.core.hi[0] + max(halo[0], 1) <= min(depth, volume[0]):
            same = before.by_name(t.name)
            assert (same.core, same.box) == (t.core, t.box)
    assert (seen == 1).all()


@given(st.integers(1, 5000), st.integers(1, 700))
def test_a_tile_is_hardly_larger_than_asked(n, tile):
    grid = Grid.balanced((n, 1, 1), (tile, 1, 1), (0, 0, 0))
    assert grid.core[0] <= tile + grid.core[0] // grid.chunk[0]
    assert grid.chunk[0] <= 64


@given(shapes, shapes, halos)
def test_each_face_takes_the_context_that_exists(volume, tile, halo):
    for t in Grid.balanced(volume, tile, halo):
        for a in range(3):
            assert t.core.lo[a] - t.box.lo[a] == min(halo[a], t.core.lo[a])
            assert t.box.hi[a] - t.core.hi[a] == min(halo[a], volume[a] - t.core.hi[a])


def test_first_tile_gets_the_short_context_on_its_right():
    """regressions 5: at n=420 and tile 400 twenty voxels of context exist and are used."""
    grid = Grid((420, 1, 1), (400, 1, 1), (50, 1, 1), (37, 0, 0))
    assert [t.box for t in grid] == [Box((0, 0, 0), (420, 1, 1)), Box((363, 0, 0), (420, 1, 1))]


def test_thin_tails_are_balanced():
    """regressions 6: 420 = 400 + 20 becomes two tiles of about 210."""
    grid = Grid.balanced((420, 420, 420), (400, 400, 400), (37, 37, 37))
    assert grid.counts == (2, 2, 2)
    assert grid[0].core.shape == (212, 212, 212)
    assert grid[7].core.shape == (208, 208, 208)


@given(shapes, shapes, st.integers(1, 12))
def test_no_halo_box_is_thinner_than_the_halo_needs(volume, tile, halo):
    """regressions 6: a tile with context is at least one voxel larger than the halo."""
    for t in Grid.balanced(volume, tile, (halo,) * 3):
        for n, side in zip(volume, t.box.shape, strict=True):
            assert side >= min(n, halo + 1)


def test_a_hundred_thousand_tiles_keep_their_order():
    """regressions 7: the place of a tile comes from the plan, never from its name's order."""
    grid = Grid((1000, 1000, 110), (10, 10, 10), (10, 10, 10), (0, 0, 0))
    assert len(grid) == 110_000
    for index in (0, 99_999, 100_000, 109_999):
        assert grid.by_name(grid[index].name).index == index


@pytest.mark.parametrize(
    "name",
    [
        "",
        "z000_y000_x0",
        "z000_y000_x999",
        "z0000_y000_x000",
        "../z000_y000_x000",
        "z-01_y000_x000",
    ],
)
def test_names_that_are_no_tile_are_refused(name):
    with pytest.raises(KeyError):
        Grid.balanced((10, 10, 10), (5, 5, 5), (0, 0, 0)).by_name(name)


def test_blocks_tile_a_box():
    box = Box((3, 0, 5), (10, 4, 9))
    assert sum(b.size for b in box.blocks((4, 4, 3))) == box.size


@pytest.mark.parametrize(
    ("shape", "sides", "box"),
    [
        ((9, 10, 3), (1, 4, 5), Box((4, 3, 0), (5, 7, 3))),
        ((1, 1, 1), (16, 16, 16), Box((0, 0, 0), (1, 1, 1))),
    ],
)
def test_a_box_in_the_middle(shape, sides, box):
    assert Box.middle(shape, sides) == box
