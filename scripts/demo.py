"""``make demo``: a real volume of nuclei through the whole DAG, compared with ilastik's answer."""

import argparse
import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import h5py
import numpy as np
import tifffile

from scripts.follow import Follower
from scripts.home import Home
from scripts.service import DAG, Service, ServiceError, find, up
from tbseg_ops.errors import ConfigError
from tbseg_ops.pipeline import STEPS

LIMIT_SECONDS = 3600


def write_slices(volume: Path, folder: Path) -> None:
    """The dataset /data of an HDF5 file, (z, y, x), as one TIFF file per slice, unless done."""
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True)
    with h5py.File(volume) as file:
        for z, plane in enumerate(file["data"][()]):
            tifffile.imwrite(partial / f"nuclei_{z:03d}.tif", plane)
    partial.rename(folder)


def differing_voxels(segmentation: Path, labels: Path) -> tuple[int, int]:
    """How many voxels have another label than in ilastik's own segmentation, and of how many."""
    with h5py.File(segmentation) as ours, h5py.File(labels) as theirs:
        different = ours["labels"][()] != theirs["exported_data"][..., 0]
    return int(np.count_nonzero(different)), int(different.size)


def demo(home: Home) -> int:
    """Run it; the exit code of the program."""
    reference = home.path / "tests" / "reference" / "nuclei"
    folder = home.path / ".demo" / "nuclei"
    run, slices = folder / "run", folder / "slices"
    write_slices(reference / "volume.h5", slices)

    print("starting Airflow" if find(home) is None else "Airflow is running already", flush=True)
    service = up(home)
    print(f"  {service.url}  (user admin, password {home.password()})")

    conf = {
        "volume": str(slices),
        "classifier": str(reference / "classifier.ilp"),
        "run": str(run),
        "tile": "32,128,128",
        "update": True,  # what an older version of tbseg has left is brought up to date
    }
    api = service.login()
    named = f"demo-{datetime.now(UTC):%Y-%m-%dT%H%M%S}"
    asked = {"dag_run_id": named, "logical_date": None, "conf": conf}
    started = api.post(f"dags/{DAG}/dagRuns", asked)
    follower = Follower(api, DAG, str(started["dag_run_id"]), tuple(step.name for step in STEPS))
    print(f"segmenting {slices.relative_to(home.path)} (60 slices of 256 x 256, three classes)")
    if follower.until_end(LIMIT_SECONDS) != "success":
        _report_failure(follower)
        return 1
    different, size = differing_voxels(run / "segmentation.h5", reference / "labels.h5")
    print(_closing(service, follower.run, run, different, size))
    return 1 if different else 0


def _report_failure(follower: Follower) -> None:
    failed = [i for i in follower.instances() if i["state"] == "failed"]
    for instance in failed[:1]:
        name = instance["rendered_map_index"] or ""
        print(f"\nerror: the task {instance['task_id']} {name} failed; its log ends with:")
        print("\n".join(f"  {line}" for line in follower.log(instance)))


def _closing(service: Service, run_id: str, run: Path, different: int, size: int) -> str:
    result = run / "segmentation.h5"
    view = f"{Path(sys.prefix) / 'bin' / 'tbseg'} view"
    return f"""
result     {result}
report     {run / "report.html"}
score      {different:,} of {size:,} voxels differ from ilastik's own segmentation
           ({"none may: please report it" if different else "none: the same, bit for bit"})

look       in Airflow   {service.url}/dags/{DAG}/runs/{quote(run_id)}/plugin/tbseg-tiles
                        user admin, password {service.home.password()}
           in 3D        {view} {shlex.quote(str(run))}
           in Fiji      Plugins > ilastik > Import HDF5 (update site "ilastik"), dataset /labels
           in napari    {view} --napari {shlex.quote(str(run))}
                        (after {Path(sys.prefix) / "bin" / "pip"} install 'napari[all]')
again      make demo    (finished tiles are recognised)
to stop    make demo-stop"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.demo")
    parser.add_argument("--home", type=Path, default=Path.cwd(), help="the deployment's folder")
    try:
        return demo(Home(parser.parse_args().home.absolute()))
    except (ServiceError, ConfigError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
