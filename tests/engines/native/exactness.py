"""``python -m tests.engines.native.exactness``: how far the engine native is from ilastik.

One row for each reference set and each way of computing it: in one piece, in tiles of three
shapes, with one thread and two, with kernels for the oldest processors. Ends with 1 unless all are
ilastik's own probabilities and labels, to the bit.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines import hard_labels, load_engine
from tbseg_ops.geometry import Grid, Index
from tests.reference_sets import LARGE, SMALL, ReferenceSet

ODD, FLAT, LONG = (19, 33, 31), (8, 256, 40), (64, 24, 128)
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Comparison:
    """``differing``: voxels with another probability of any class; ``relabelled``: another label.

    ``largest``: of all differences between probabilities.
    """

    reference: str
    how: str
    voxels: int
    differing: int
    largest: float
    relabelled: int

    @property
    def equal(self) -> bool:
        return self.differing == self.relabelled == 0

    def __str__(self) -> str:
        return (
            f"{self.reference:24} {self.how:32} {self.voxels:>9,} voxels: {self.differing:,} differ"
            f", by at most {self.largest:g}; {self.relabelled:,} have another label"
        )


def compared(reference: ReferenceSet, tile: Index | None = None, threads: int = 1) -> Comparison:
    """A reference set in one piece, or in tiles of which each sees only its halo box."""
    raw = reference.raw()
    shape = raw.shape[:3]
    passport = read_passport(reference.classifier)
    engine = load_engine("native", passport, volume_shape=shape, threads=threads)
    found = np.full((len(passport.labels), *shape), np.nan, np.float32)
    for piece in Grid(shape, tile or shape, tile or shape, passport.halo_for(shape)):
        core = piece.core.relative_to(piece.box.lo)
        found[:, *piece.core.slices] = engine.predict(raw[piece.box.slices], core)
    expected = reference.probabilities()
    pieces = "in one piece" if tile is None else f"in tiles of {'x'.join(map(str, tile))}"
    return Comparison(
        str(reference),
        f"{pieces}, {threads} {'thread' if threads == 1 else 'threads'}",
        found[0].size,
        int((found != expected).any(axis=0).sum()),
        float(np.abs(found - expected).max()),
        int((hard_labels(found) != reference.labels()).sum()),
    )


def compared_generically(references: Iterable[ReferenceSet], cache: Path) -> list[Comparison]:
    """In a new process with kernels for the oldest 64-bit processors, which cannot fuse."""
    code = f"""
import dataclasses, json, sys
from {__spec__.name} import LARGE, SMALL, compared
for reference in SMALL + LARGE:
    if str(reference) in sys.argv:
        print(json.dumps(dataclasses.asdict(compared(reference))))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, references)],
        env={**os.environ, **GENERIC, "NUMBA_CACHE_DIR": str(cache)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [Comparison(**{**row, "how": "in one piece, 1 thread, generic"}) for row in rows]


def all_comparisons() -> Iterator[Comparison]:
    for reference in SMALL + LARGE:
        for tile in (None, ODD, FLAT, LONG):
            for threads in (1, 2):
                yield compared(reference, tile, threads)
    with tempfile.TemporaryDirectory() as folder:
        yield from compared_generically(SMALL + LARGE, Path(folder))


if __name__ == "__main__":
    equal = True
    for comparison in all_comparisons():
        print(comparison, flush=True)
        equal &= comparison.equal
    sys.exit(not equal)
