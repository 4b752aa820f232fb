"""Classifiers of known size, trained once and kept in .bench/."""

import hashlib
import shutil
from pathlib import Path

import h5py
import numpy as np

from tbseg_ops.engines.native.features.bricks import BrickFeatures
from tbseg_ops.geometry import Box
from tests.bench import baseline, grown
from tests.bench.cases import DIFFICULTIES, FEATURES, IDS, labels_of, vessels
from tests.reference_sets import ReferenceSet

FOLDER = Path(".bench")
_TRAINING = 96


def classifier(selection: str, difficulty: str) -> Path:
    """An .ilp with a named selection of features and a forest of a named difficulty.

    vigra trains the forest where it is installed; where it is not, one is grown here.
    """
    by = "grown" if baseline.missing() else "vigra"
    sources = [Path(__file__).with_name(f"{name}.py") for name in ("cases", "grown", "vigra_side")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    ilp = FOLDER / digest / f"{selection} {difficulty} {by}.ilp".replace(" ", "-")
    if not ilp.exists():
        ilp.parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / ".gitignore").write_text("*\n")
        fresh, forest = ilp.with_suffix(".fresh"), ilp.with_suffix(".h5")
        _train(selection, difficulty, forest)
        _assemble(selection, difficulty, forest, fresh)
        forest.unlink()
        fresh.replace(ilp)
    return ilp


def _train(selection: str, difficulty: str, forest: Path) -> None:
    how = DIFFICULTIES[difficulty]
    raw, field = vessels(_TRAINING)
    chosen = np.random.default_rng(11).choice(field.size, how.samples, replace=False)
    where = np.array(np.unravel_index(chosen, field.shape))
    maker = BrickFeatures(FEATURES[selection], 1)
    rows = np.empty((how.samples, maker.columns), np.float32)
    line = -(-_TRAINING // 4)
    for first, planes, bricks in maker.slabs(raw[..., None], Box((0, 0, 0), (_TRAINING,) * 3)):
        mine = (where[0] >= first) & (where[0] < first + planes)
        z, y, x = where[:, mine] - np.array([[first], [0], [0]])
        brick = (z // 4 * line + y // 4) * line + x // 4
        rows[mine] = bricks[brick, :, z % 4 * 16 + y % 4 * 4 + x % 4]
    labels = labels_of(field.reshape(-1)[chosen], how, seed=13)
    if baseline.missing():
        grown.grow(rows, labels, forest)
    else:
        baseline.train(rows, labels, forest)


def _assemble(selection: str, difficulty: str, forest: Path, ilp: Path) -> None:
    scales = sorted({f.scale for f in FEATURES[selection]})
    flat = FEATURES[selection][0].in_2d
    classes = DIFFICULTIES[difficulty].classes
    shutil.copyfile(ReferenceSet("vessels-3d").classifier, ilp)
    with h5py.File(ilp, "r+") as file, h5py.File(forest) as source:
        selections, training = file["FeatureSelections"], file["PixelClassification"]
        for key, value in {
            "Scales": np.array(scales),
            "SelectionMatrix": np.ones((len(IDS), len(scales)), bool),
            "ComputeIn2d": np.full(len(scales), flat),
            "FeatureIds": np.array([i.encode() for i in IDS]),
        }.items():
            del selections[key]
            selections[key] = value
        del training["LabelNames"], training["ClassifierForests"]
        training["LabelNames"] = np.array([f"class {k + 1}".encode() for k in range(classes)])
        source.copy("Forest0000", training.create_group("ClassifierForests"))
        training["ClassifierForests/known_labels"] = np.arange(1, classes + 1, dtype=np.uint32)
