"""Tiles that are much too small are told when the run is planned."""

import pytest

from tests.runs import planned, stack


@pytest.mark.parametrize(("tile", "told"), [((4, 4, 4), True), ((20, 24, 30), False)])
def test_very_small_tiles(tile, told, tmp_path):
    notes = planned(tmp_path / "run", stack(tmp_path / "slices"), tile=tile).notes
    found = [note for note in notes if "very small" in note]
    assert bool(found) == told
    if told:
        assert "1,680 tiles of 4 x 4 x 4" in found[0]
        assert "of disk and about" in found[0]
