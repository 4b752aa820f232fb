"""Small runs on a real classifier: the vessels set (37 x 45 x 53), tiles of about 20."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops import steps
from tbseg_ops.run import Plan, RunFolder, RunSpec, Team
from tests.reference_sets import ReferenceSet
from tests.synthetic import write_stack

VESSELS = ReferenceSet("vessels-3d")
TILE = (20, 24, 30)


def stack(folder: Path, volume: NDArray[Any] | None = None) -> Path:
    """The volume as a folder of TIFF slices."""
    return write_stack(folder, VESSELS.raw()[..., 0] if volume is None else volume)


def spec_of(volume: Path | str, **changes: Any) -> RunSpec:
    """Of a run with a copy of the volume; by reference: ``tests.steps.test_refer``."""
    values = {"volume": str(volume), "classifier": str(VESSELS.classifier), "tile": TILE}
    values["ingest"] = "copy"
    return RunSpec.of(**{**values, **changes})


def planned(run: Path, volume: Path | str, **changes: Any) -> Plan:
    return steps.plan(spec=spec_of(volume, **changes), run=run)


def copied(finished: Path, folder: Path) -> Path:
    """A copy of the finished run and its slices (fixture ``finished``) that a test may change."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    # Results do not depend on where the slices lie: everything is recognised under the new path.
    steps.plan(spec=spec_of(folder / "slices"), run=folder / "run", update=True)
    return folder / "run"


def through(run: Path, team: Team | None = None, until: str = "publish") -> dict[str, Any]:
    """All steps after plan, up to ``until``; their results by name."""
    results = {}
    for name in ("ingest", "split", "classify", "merge", "verify", "export", "publish"):
        more = {} if name == "publish" else {"team": team}
        results[name] = getattr(steps, name)(run=run, **more)
        if name == until:
            break
    return results


def datasets(path: Path) -> dict[str, NDArray[Any]]:
    """Every dataset of an HDF5 file by name."""
    found: dict[str, NDArray[Any]] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def same(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a
    )


def tbseg(
    *arguments: object, prefix: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command line, as a user's shell would run it."""
    return subprocess.run(
        [*prefix, *command(*arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tbseg_ops.cli.main", *map(str, arguments)]


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def files_below(run: Path) -> set[str]:
    """All files of a run folder, relative."""
    return {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}


def temporary_files(run: Path) -> list[str]:
    return [name for name in files_below(run) if name.endswith(".tmp")]


def tile_record(run: Path, name: str) -> Any:
    return RunFolder(run).records("classify").get(name)
