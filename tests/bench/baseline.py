"""vigra in a process of its own: found, or the reason why its column is missing."""

import json
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier import read_passport
from tests.bench.cases import Case

HOW = "apt-get install python3-vigra (Debian, Ubuntu)"

_SCRIPT = Path(__file__).with_name("vigra_side.py")
_PYTHON = "/usr/bin/python3"


@cache
def missing() -> str | None:
    """Why there is no baseline, or None if there is one."""
    try:
        subprocess.run([_PYTHON, "-c", "import vigra"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"{_PYTHON} has no vigra: {HOW}"
    return None


def train(features: NDArray[np.float32], labels: NDArray[np.int64], forest: Path) -> None:
    """A forest of vigra's, trained on ``features`` (n, columns), as Forest0000 of an HDF5 file."""
    with tempfile.TemporaryDirectory() as folder:
        x, y = Path(folder, "x.npy"), Path(folder, "y.npy")
        np.save(x, features)
        np.save(y, labels)
        _vigra("train", x, y, forest)


def tile(case: Case, with_forest: bool = True) -> dict[str, float]:
    """Seconds of "features" and "forest" for the core of a case, and the "peak" in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        volume, job = Path(folder, "volume.npy"), Path(folder, "job.json")
        np.save(volume, case.raw[..., 0])
        wanted = case.passport.features_for(case.shape)
        what = {
            "volume": str(volume),
            "lo": case.core.lo,
            "hi": case.core.hi,
            "features": [(f.id, f.scale, f.in_2d) for f in wanted],
            "classifier": str(case.classifier),
            "forests": case.passport.forests if with_forest else 0,
        }
        job.write_text(json.dumps(what))
        found: dict[str, float] = json.loads(_vigra("tile", job))
        return found


class Rows:
    """Feature rows (n, columns) on disk, to be classified by vigra again and again."""

    def __init__(self, rows: NDArray[np.float32], folder: Path) -> None:
        self._rows, self._found = folder / "rows.npy", folder / "probabilities.npy"
        np.save(self._rows, rows)

    def forest(self, classifier: Path) -> float:
        """Seconds of vigra's forest."""
        forests = read_passport(classifier).forests
        printed = _vigra("forest", self._rows, classifier, forests, self._found)
        seconds: float = json.loads(printed)["forest"]
        return seconds

    def probabilities(self) -> NDArray[np.float32]:
        """(n, classes) of the last call."""
        found: NDArray[np.float32] = np.load(self._found)
        return found


def _vigra(*arguments: object) -> str:
    done = subprocess.run(
        [_PYTHON, str(_SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout
