"""A dataset whose runs are links of one finished run, as if nothing had changed between them."""

import os
import shutil
from pathlib import Path

from tbseg_ops import datasets
from tbseg_ops.datasets import Dataset
from tests.runs import files_below, spec_of

KEPT = {
    *("spec.json", "plan.json", "inputs.json", "pruned.json", ".lock"),
    *("report.html", "ro-crate-metadata.json"),
}


def add(folder: Path, slices: Path, **retention: object) -> None:
    """The dataset "brain" with its runs in ``folder``/runs."""
    spec = spec_of(slices).model_dump()
    made = Dataset.of(owner="me", runs=str(folder / "runs"), spec=spec, retention=retention)
    datasets.add("brain", made, replace=True)


def linked(run: Path, new: Path) -> Path:
    """A run with the same files: large ones by link, as a run takes them over."""

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".h5") else shutil.copy)(source, target)

    shutil.copytree(run, new, copy_function=copy)
    return new


def incomplete(run: Path) -> Path:
    """Half of the tiles are not classified, and nothing is merged."""
    for path in [*run.glob("classes/z001*"), *run.glob("records/classify/z001*")]:
        path.unlink()
    for name in ("segmentation.h5", "records/merge/volume.json", "records/verify/volume.json"):
        (run / name).unlink()
    return run


def what_is_left(run: Path) -> set[str]:
    """The kinds of large files in a run."""
    names = {name for name in files_below(run) if not name.startswith("records/")} - KEPT
    return {name.partition("/")[0] for name in names}


def room(folder: Path) -> int:
    """Bytes on disk of all HDF5 files below a folder, each once however many names it has."""
    found = [path.lstat() for path in folder.rglob("*.h5")]
    return sum({s.st_ino: s.st_blocks * 512 for s in found}.values())
