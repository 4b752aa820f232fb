"""The tiled result is the untiled result, bit for bit."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbseg_ops import steps
from tbseg_ops.classifier import Passport
from tbseg_ops.errors import IntegrityError
from tbseg_ops.run.status import status
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS, datasets, planned, same, stack, through
from tests.synthetic import write_hdf5

CHANGES = {"probabilities": "all", "output": "intensity"}


@pytest.fixture(scope="module")
def untiled(tmp_path_factory):
    """The slices, and the datasets of a run in one single tile."""
    folder = tmp_path_factory.mktemp("untiled")
    slices = stack(folder / "slices")
    made = planned(folder / "run", slices, tile=(64, 64, 64), **CHANGES)
    assert len(made.grid) == 1
    through(folder / "run", until="merge")
    return slices, datasets(folder / "run" / "segmentation.h5")


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tile=st.tuples(st.integers(9, 37), st.integers(12, 45), st.integers(12, 53)))
def test_random_tile_shapes_give_the_untiled_result(untiled, tmp_path_factory, tile):
    slices, expected = untiled
    run = tmp_path_factory.mktemp("tiled")
    planned(run, slices, tile=tile, **CHANGES)
    through(run, until="verify")
    assert same(datasets(run / "segmentation.h5"), expected)


@pytest.mark.parametrize("tile", [(1, 45, 53), (37, 45, 4), (36, 44, 52), (37, 2, 53)])
def test_thin_tiles_give_the_untiled_result(untiled, tmp_path, tile):
    slices, expected = untiled
    planned(tmp_path, slices, tile=tile, **CHANGES)
    through(tmp_path, until="merge")
    assert same(datasets(tmp_path / "segmentation.h5"), expected)


def test_a_halo_one_voxel_smaller_gives_another_result(untiled, tmp_path, monkeypatch):
    """So that the tests above can fail; and verify sees it."""
    slices, expected = untiled
    real = Passport.halo_for

    def short(self, shape):
        z, y, x = real(self, shape)
        return z - 1, y - 1, x - 1

    # Tiles along x only, of the whole y and z: wrong voxels lie at seams in x.
    monkeypatch.setattr(Passport, "halo_for", short)
    planned(tmp_path, slices, tile=(20, 24, 14), **CHANGES)
    through(tmp_path, until="merge")
    found = datasets(tmp_path / "segmentation.h5")
    name = next(n for n in found if n.startswith("probabilities/"))
    assert not np.array_equal(found[name], expected[name])
    with pytest.raises(IntegrityError, match="not what the classifier gives in one piece"):
        steps.verify(run=tmp_path)


@pytest.mark.parametrize("name", ["vessels-2d", "two-channel", "label-gap"])
def test_other_classifiers_too(name, tmp_path):
    reference = ReferenceSet(name)
    raw = reference.raw()
    axes = "zyx" if raw.shape[3] == 1 else "zyxc"
    volume = write_hdf5(tmp_path / "v.h5", raw[..., 0] if axes == "zyx" else raw, axes=axes)
    results = []
    for tile in ((64, 64, 64), (19, 23, 27)):
        run = tmp_path / f"run{tile[0]}"
        planned(
            run,
            f"{volume}:/data",
            classifier=str(reference.classifier),
            tile=tile,
            **CHANGES,
        )
        through(run, until="verify")
        results.append(datasets(run / "segmentation.h5"))
    assert same(*results)
    assert np.array_equal(results[0]["labels"], reference.labels())


@pytest.mark.parametrize("split", ["virtual", "copy"])
def test_tiles_give_the_same_however_they_are_stored(split, untiled, tmp_path):
    slices, expected = untiled
    planned(tmp_path, slices, tile=(20, 24, 30), split=split, **CHANGES)
    through(tmp_path)
    assert same(datasets(tmp_path / "segmentation.h5"), expected)
    stored = sum(p.stat().st_size for p in (tmp_path / "tiles").iterdir())
    assert (stored > VESSELS.raw().nbytes) == (split == "copy")
    assert status(run=tmp_path).verified
