"""One flipped bit anywhere in a finished run: what comes of it. ``python -m tests.faults.flips 40``

Each file of a small run has a bit flipped, at places spread over it. All bytes are read then
(``tbseg verify --deep``, ``tbseg publish``); if something is noticed, ``tbseg repair`` is given
once.

harmless   nothing says another thing than before, and the report is written anew
mended     noticed, and right again after that one command
unseen     another content that was called verified
wedged     still wrong after the command
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tbseg_ops import steps
from tbseg_ops.errors import TbsegError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.runs import datasets, planned, same, stack, through

Outcome = Literal["harmless", "mended", "unseen", "wedged"]
OUTCOMES: tuple[Outcome, ...] = ("harmless", "mended", "unseen", "wedged")
TILE = "z001_y000_x001"
# What is flipped -> where it lies in a run folder.
KINDS = {
    "plan.json": "plan.json",
    "spec.json": "spec.json",
    "inputs.json": "inputs.json",
    "record of a slab": "records/ingest/*.json",
    "record of a sub-volume": f"records/split/{TILE}.json",
    "record of a class file": f"records/classify/{TILE}.json",
    "record of the merged file": "records/merge/volume.json",
    "record of the verification": "records/verify/volume.json",
    "slab": "volume/*.h5",
    "volume.h5": "volume.h5",
    "sub-volume": f"tiles/{TILE}.*.h5",
    "class file": f"classes/{TILE}.*.h5",
    "segmentation.h5": "segmentation.h5",
    "report.html": "report.html",
    "ro-crate-metadata.json": "ro-crate-metadata.json",
}
# What a reader of these files reads: the same after a harmless flip.
READ = ("volume/*.h5", "tiles/*.h5", "classes/*.h5", "segmentation.h5", "volume.h5")


def made(folder: Path) -> Path:
    """A finished run, with the slices beside it."""
    run = folder / "run"
    planned(run, stack(folder / "slices"))
    through(run)
    return run


def flipped(run: Path, whole: Path, kind: str, share: float, bit: int) -> Outcome:
    """``whole``: a copy of the run as it was, which it is again in the end."""
    (path,) = sorted(run.glob(KINDS[kind]))[:1]
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1 << bit
    path.write_bytes(data)
    try:
        return _outcome(run, whole)
    finally:
        shutil.rmtree(run)
        shutil.copytree(whole, run)


def _outcome(run: Path, whole: Path) -> Outcome:
    try:
        _ = RunFolder(run).plan, RunFolder(run).inputs
        steps.verify(run=run, deep=True)
        steps.publish(run=run)
    except TbsegError:
        steps.repair(run=run)
        return "mended" if _is_right(run, whole) else "wedged"
    return "harmless" if _is_right(run, whole) else "unseen"


def _is_right(run: Path, whole: Path) -> bool:
    try:
        steps.verify(run=run, deep=True)
    except TbsegError:
        return False
    names = [p.relative_to(whole) for pattern in READ for p in whole.glob(pattern)]
    return status(run=run).verified and all(
        same(datasets(run / name), datasets(whole / name)) for name in names
    )


def places(kind: str, count: int) -> Iterator[tuple[float, int]]:
    """Spread over a file, the same ones each time: a share of its length, and a bit."""
    chosen = random.Random(kind)
    for number in range(count):
        yield (number + chosen.random()) / count, chosen.randrange(8)


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        run, whole = made(Path(name)), Path(name) / "whole"
        shutil.copytree(run, whole)
        print("".join(f"{word:>10}" for word in ("tried", *OUTCOMES)), flush=True)
        for kind in KINDS:
            found = Counter(flipped(run, whole, kind, *place) for place in places(kind, count))
            counts = (found.total(), *(found[outcome] for outcome in OUTCOMES))
            print("".join(f"{n:10}" for n in counts), f"  {kind}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
