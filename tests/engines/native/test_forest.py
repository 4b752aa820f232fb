"""Forests on bricks against a voxel-by-voxel evaluation of the stored trees, bit for bit."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from tbseg_ops.classifier.forests import read_forests
from tbseg_ops.classifier.ilp import open_ilp
from tbseg_ops.engines.native.forest.bricks import BrickForest
from tbseg_ops.engines.native.forest.packing import can_be_counted
from tbseg_ops.engines.native.forest.winners import NOBODY
from tbseg_ops.engines.native.kernels import highest_level
from tests.classifier.projects import FORESTS, LEAF, Tree, changed, grown_tree, write_forests
from tests.engines.native.exactness import ROOT
from tests.reference_sets import CLASSIFIERS

# What float32 features can be, and thresholds that lie on, next to and between them.
ODD = np.array([0, -0.0, 1, -1, 1e-45, 1e-38, 3e38, np.inf, -np.inf, 0.1, np.pi], np.float32)
THRESHOLDS = [0.0, 1.0, 0.1, float(np.float32(0.1)), 1e-45, 1e-46, -1e-46, 3e38, 1e300, -1e300]


def straightforward(forests: list[list[Tree]], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """vigra's and ilastik's arithmetic, one voxel (n, columns) and tree at a time: (n, classes)."""
    classes = forests[0][0][0][1]
    total = np.zeros((len(rows), classes), np.float32)
    for trees in forests:
        share = np.zeros_like(total)
        for tree in trees:
            share += np.array([leaf(tree, row) for row in rows], np.float32)
        share /= np.float32(len(trees))
        total += share * np.float32(len(trees))
    total /= np.float32(sum(len(trees) for trees in forests))
    total[np.isnan(rows).any(axis=1)] = 0
    return total


def leaf(tree: Tree, row: NDArray[np.float32]) -> list[float]:
    topology, parameters = tree
    at = 2
    while topology[at] == 0:
        _, p, below, above, column = topology[at : at + 5]
        at = below if float(row[column]) < parameters[p + 1] else above
    p = topology[at + 1]
    return parameters[p + 1 : p + 1 + topology[1]]


def bricks_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.reshape(-1, 64, rows.shape[1]).transpose(0, 2, 1))


def rows_of(bricks: NDArray[np.float32]) -> NDArray[np.float32]:
    return bricks.transpose(0, 2, 1).reshape(-1, bricks.shape[1])


def evaluated(folder, forests: list[list[Tree]], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (n, classes), after a look at the winners that are found in the short way."""
    with open_ilp(changed(folder, lambda file: write_forests(file, forests))) as ilp:
        forest = BrickForest(read_forests(ilp, f"/{FORESTS}"))
    probabilities = rows_of(forest.predict(bricks_of(rows)))
    winners = probabilities.argmax(axis=1)
    winners[~probabilities.any(axis=1)] = NOBODY
    assert np.array_equal(forest.winners(bricks_of(rows)).reshape(-1), winners)
    return probabilities


CASES = {
    # name: (trees of each forest, classes, depth, pure)
    "two classes": ([10], 2, 6, True),
    "two forests": ([50, 50], 3, 5, True),
    "unequal forests": ([13, 7, 25], 4, 5, True),
    "one class": ([3], 1, 3, True),
    "many classes": ([20], 19, 6, True),
    "trees without a split": ([9], 3, 0, True),
    "some trees without a split": ([40], 3, 1, True),
    "255 trees, the most counted in bytes": ([255], 2, 2, True),
    "256 trees": ([256], 2, 2, True),
    "deep": ([4], 2, 13, True),
    "impure": ([30], 3, 5, False),
    "impure, two forests": ([50, 51], 2, 4, False),
    "impure, small trees": ([3], 2, 1, False),
}


@pytest.mark.parametrize(("trees", "classes", "depth", "pure"), CASES.values(), ids=CASES)
def test_equals_the_straightforward_evaluation(tmp_path, trees, classes, depth, pure):
    random = np.random.default_rng(len(trees) + classes + depth)
    forests = [
        [grown_tree(random, 5, classes, depth, pure) for _ in range(count)] for count in trees
    ]
    rows = random.normal(size=(192, 5)).astype(np.float32)
    rows[64:128] = rows[64] + random.normal(0, 0.05, (64, 5))  # one brick of neighbours
    np.testing.assert_array_equal(
        evaluated(tmp_path, forests, rows), straightforward(forests, rows), strict=True
    )


@pytest.mark.parametrize("pure", [True, False])
def test_thresholds_and_features_of_every_kind(tmp_path, pure):
    """Equal to a threshold, next to it, infinite: the float64 comparison of vigra decides."""
    random = np.random.default_rng(7)
    forest = [grown_tree(random, 4, 3, 5, pure, THRESHOLDS) for _ in range(30)]
    near = np.concatenate([ODD, np.nextafter(ODD[:-4], np.float32(9)), np.nextafter(ODD, ODD[1])])
    rows = random.choice(near, (256, 4)).astype(np.float32)
    np.testing.assert_array_equal(
        evaluated(tmp_path, [forest], rows), straightforward([forest], rows)
    )


@pytest.mark.parametrize("pure", [True, False])
def test_a_nan_makes_all_probabilities_zero(tmp_path, pure):
    random = np.random.default_rng(8)
    forest = [grown_tree(random, 6, 3, 4, pure) for _ in range(10)]
    rows = random.normal(size=(128, 6)).astype(np.float32)
    holes = random.random(rows.shape) < 0.05
    rows[holes] = np.nan
    got = evaluated(tmp_path, [forest], rows)
    assert (got.sum(axis=1) == 0).tolist() == holes.any(axis=1).tolist()
    np.testing.assert_array_equal(got, straightforward([forest], rows))


@pytest.mark.parametrize("sizes", [(38,), (3, 21), (50, 50), (13, 12, 13)])
def test_ties_are_settled_by_the_rounded_probabilities(tmp_path, sizes):
    """One split per tree, each on its own column: votes like coins, often as many for each side."""
    columns = sum(sizes)
    stumps = [
        ([columns, 2, 0, 0, 7, 9, c, LEAF, 2, LEAF, 5], [1, 0, 1, 0, 1, 1, 1, 0])
        for c in range(columns)
    ]
    forests = [[stumps.pop() for _ in range(size)] for size in sizes]
    rows = np.random.default_rng(2).choice([-1, 1], (2048, columns)).astype(np.float32)
    got = evaluated(tmp_path, forests, rows)
    np.testing.assert_array_equal(got, straightforward(forests, rows))
    ties = (rows < 0).sum(axis=1) * 2 == columns
    assert ties.sum() > 50
    if sizes == (3, 21):
        assert np.any(got[ties, 0] != got[ties, 1]), "rounding breaks some ties"


@pytest.mark.parametrize("reference", CLASSIFIERS, ids=str)
def test_real_forests_on_shuffled_voxels(reference):
    """Rows drawn from each column's own thresholds, exactly on them for half of the columns."""
    with open_ilp(reference.classifier) as ilp:
        forests = read_forests(ilp, f"/{FORESTS}")
        names = [f"/{FORESTS}/{name}" for name in ilp.members(f"/{FORESTS}") if "Forest" in name]
        stored = [
            [
                tuple(
                    ilp.array(f"{name}/{tree}/{part}", "if", (None,)).tolist()
                    for part in ("topology", "parameters")
                )
                for tree in ilp.members(name)
                if tree.startswith("Tree_")
            ]
            for name in names
        ]
    assert can_be_counted(forests)
    random = np.random.default_rng(3)
    columns = forests[0].columns
    rows = np.empty((128, columns), np.float32)
    for column in range(columns):
        thresholds = forests[0].threshold[forests[0].column == column]
        rows[:, column] = random.choice(thresholds if len(thresholds) else ODD[:1], 128)
    rows[:64] *= random.normal(1, 0.1, (64, columns)).astype(np.float32)
    expected = straightforward(stored, rows)
    forest = BrickForest(forests)
    np.testing.assert_array_equal(rows_of(forest.predict(bricks_of(rows))), expected)
    assert np.array_equal(forest.winners(bricks_of(rows)).reshape(-1), expected.argmax(axis=1))


def test_result_does_not_depend_on_the_memory_of_the_bricks(tmp_path):
    """Bricks that start anywhere in memory, and bricks in another order, give the same voxels."""
    random = np.random.default_rng(9)
    path = changed(
        tmp_path,
        lambda file: write_forests(file, [[grown_tree(random, 3, 2, 6) for _ in range(20)]]),
    )
    with open_ilp(path) as ilp:
        forest = BrickForest(read_forests(ilp, f"/{FORESTS}"))
    bricks = random.normal(size=(6, 3, 64)).astype(np.float32)
    expected = forest.predict(bricks)
    moved = np.empty(bricks.size + 3, np.float32)[3:].reshape(bricks.shape)
    moved[:] = bricks
    assert np.array_equal(forest.predict(moved), expected)
    assert np.array_equal(forest.winners(moved), forest.winners(bricks))
    assert np.array_equal(forest.predict(bricks[::-1]), expected[::-1])
    assert forest.predict(bricks[:0]).shape == (0, 2, 64)
    with pytest.raises(ValueError, match="bricks of"):
        forest.predict(bricks[:, :2])


@pytest.mark.skipif(highest_level() is None, reason="this processor has no AVX2")
def test_on_a_processor_that_has_avx2_and_no_avx_512(tmp_path):
    """There the voxels of a brick are in another order while they are compared."""
    level = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
    chosen = "every_kind or nan_makes or real_forests"
    words = ["-q", "-n0", "-p", "no:cacheprovider", "-k", chosen]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, __file__],
        env={**os.environ, **level, "NUMBA_CACHE_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert len(list(tmp_path.glob("**/*.o"))) == 3, "the kernels are those of that processor"
