"""Runs that take a tenth of a second: two features, three trees, 1,440 voxels, two tiles.

They go through the same code as larger ones, and their files are small enough to be damaged at
every byte.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tbseg_ops import steps
from tbseg_ops.classifier import passport
from tbseg_ops.engines import choose
from tbseg_ops.run import RunSpec
from tests.classifier.projects import changed, grown_tree, replace, write_forests
from tests.runs import VESSELS, datasets, spec_of, stack, through
from tests.synthetic import noise_volume

SHAPE = (10, 9, 16)
TILE = (10, 9, 8)


def classifier(folder: Path) -> Path:
    """Smoothing and gradient of scale 0.7, and a forest that is drawn at random."""

    def edit(file: h5py.File) -> None:
        selected = np.zeros((6, 7), bool)
        selected[[0, 2], 1] = True
        replace(file, "FeatureSelections/SelectionMatrix", selected)
        random = np.random.default_rng(2)
        trees = [grown_tree(random, 2, 2, 4, thresholds=range(40, 200, 20)) for _ in range(3)]
        write_forests(file, [trees])

    return changed(folder, edit, VESSELS.classifier, "tiny.ilp")


class Tiny:
    """Two volumes of which one slice differs, and what they give in one piece, by name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.classifier = classifier(folder)
        first = noise_volume(SHAPE)
        second = first.copy()
        second[6] = noise_volume(SHAPE, seed=1)[6]
        self.slices = {
            name: stack(folder / name, volume)
            for name, volume in (("first", first), ("second", second))
        }
        self.right = {name: self._untiled(folder, name) for name in self.slices}

    def spec(self, name: str = "first", **changes: Any) -> RunSpec:
        values = {"classifier": str(self.classifier), "tile": TILE, **changes}
        return spec_of(self.slices[name], **values)

    def _untiled(self, folder: Path, name: str) -> dict[str, NDArray[Any]]:
        run = folder / f"untiled {name}"
        plan = steps.plan(spec=self.spec(name, tile=SHAPE), run=run)
        assert len(plan.grid) == 1
        through(run)
        return datasets(run / "segmentation.h5")


@contextmanager
def quickly() -> Iterator[None]:
    """The classifier is read once, and nothing is forced onto the disk: a kill is no power cut."""
    known = lru_cache(maxsize=4)(passport.read_classifier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passport, "read_classifier", known)
        patch.setattr(choose, "read_classifier", known)
        patch.setattr(os, "fsync", lambda file: None)
        yield
