"""What ``tbseg prove`` found: the content of ``prove.json``, and the sentence for people."""

from math import ceil, exp, floor, lgamma, log, log1p, log10
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from tbseg_ops.geometry import Index
from tbseg_ops.options import EngineName
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.stored import Stored

RawFrom = Literal["input", "slabs"]
Count = Annotated[int, Field(ge=0)]
CONFIDENCE = 0.95


class DifferentBox(Stored):
    """A box (z, y, x; half-open), the tiles that wrote it, and by dataset the voxels that differ.

    ``wrong``: more than the engines may differ by.
    """

    lo: Index
    hi: Index
    tiles: tuple[str, ...]
    voxels: dict[str, Count]
    wrong: bool

    def __str__(self) -> str:
        voxels = ", ".join(f"{n:,} voxels of {name}" for name, n in self.voxels.items())
        return f"box {self.lo} to {self.hi}, {', '.join(self.tiles)}: {voxels}"


class Proof(Stored):
    """Random boxes of a merged file (of the key ``merged``) against an engine without tiles.

    ``exact``: both engines give the same bits everywhere, so that any voxel of any dataset counts;
    else ``differing`` are the boxes with another label, and ``wrong`` those in which more than 1 %
    of the voxels of a dataset differ. ``labels``: voxels with another label. ``probability``: the
    largest difference of a probability, 0 to 1; None if the run kept no maps. ``different``: the
    first boxes of these, the wrong ones before the others.
    """

    schema_version: Literal[1] = 1
    merged: str
    engine: EngineName
    engine_version: str
    raw_from: RawFrom
    seed: int
    side: int
    exact: bool
    boxes: Count
    differing: Count
    wrong: Count
    voxels: Count
    labels: Count
    probability: float | None
    different: tuple[DifferentBox, ...]

    @property
    def bound(self) -> float:
        """The share of boxes that differ is below it, with 95 % confidence."""
        return upper_bound(self.differing, self.boxes)

    @property
    def statement(self) -> str:
        where = "the input volume" if self.raw_from == "input" else "the run's slabs of the volume"
        maps = self.probability
        apart = "" if maps is None else f", probabilities differ by at most {maps:.2g}"
        kind = "" if self.exact else " in a label, or in more than 1 % of their voxels"
        return (
            f"{self.differing:,} of {self.boxes:,} boxes differ{kind}: fewer than"
            f" {_percent(self.bound)} % of boxes are wrong, with 95 % confidence."
            f" {self.labels:,} of {self.voxels:,} voxels have another label{apart}."
            f" Boxes of {self.side} voxels a side, drawn anywhere, across seams and in each class"
            f" (seed {self.seed}), were predicted one by one, without tiles, from {where} by engine"
            f" {self.engine}, version {self.engine_version}."
        )


def stored_proof(folder: RunFolder, merged: str) -> Proof | None:
    """What was proved of the merged file with the key ``merged``, if it was, and can be read."""
    try:
        found = Proof.model_validate_json(folder.proof_file.read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.merged == merged else None


def upper_bound(differing: int, boxes: int) -> float:
    """Clopper and Pearson's one-sided bound, with 95 % confidence, of the share that differs.

    With a larger share, so few of so many would have been found less than once in 20 times. It
    also holds where the boxes are drawn from several populations in fixed parts (Hoeffding 1956).
    """
    if differing >= boxes:
        return 1.0
    low, high = differing / boxes, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _at_most(differing, boxes, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(k: int, n: int, p: float) -> float:
    """The probability of up to ``k`` successes in ``n`` trials, each of probability ``p`` >= k/n.

    Terms fall from ``k`` downwards.
    """
    total = 0.0
    for i in range(k, -1, -1):
        ways = lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1)
        term = exp(ways + i * log(p) + (n - i) * log1p(-p))
        total += term
        if term <= 1e-17 * total:
            break
    return total


def _percent(share: float) -> str:
    """In percent, two digits, rounded up."""
    scale = 10.0 ** (1 - floor(log10(100 * share)))
    return f"{min(100.0, ceil(100 * share * scale) / scale):g}"
