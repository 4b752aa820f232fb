"""The MPI image is built and used: a run alone and one by ranks give the same arrays."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker.dockerfile import base, instructions
from tests.runs import TILE, VESSELS, datasets, same

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/mpi.Dockerfile"
IMAGE = "localhost/tbseg-mpi:test"
USER = 1000
ARGUMENTS = ["/reference/volume.h5:/data", "/reference/classifier.ilp"]
TILES = ["--tile", ",".join(map(str, TILE))]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
    pytest.mark.skipif(os.getuid() != 0, reason="buildah needs root here: it builds in a chroot"),
]


def buildah(*arguments, **options):
    return subprocess.run(
        ["buildah", *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def borrowed():
    """How this machine reaches its package index, for the build only: nothing is copied in."""
    settings = Path(os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf"))
    places = {settings: "/etc/pip.conf", Path("/etc/ssl/certs"): "/etc/ssl/certs"}
    return [f"--volume={here}:{there}:ro" for here, there in places.items() if here.exists()]


@pytest.fixture(scope="module")
def image():
    name, _ = base(instructions(DOCKERFILE)[0])
    pulled = buildah("pull", "--policy=missing", name)
    if pulled.returncode != 0:
        pytest.skip(f"the base image {name} cannot be had: {pulled.stderr.splitlines()[-1]}")
    done = buildah(
        *("build", "--layers", "--isolation=chroot", "--network=host", *borrowed()),
        *("--file", DOCKERFILE, "--tag", IMAGE, ROOT),
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return IMAGE


@pytest.fixture
def run_in(image, tmp_path):
    """Runs a command in a container of the image, without network; /data is the test's folder."""
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, USER, USER)
    container = buildah("from", image).stdout.strip()
    mounts = [f"--volume={VESSELS.classifier.parent}:/reference:ro", f"--volume={data}:/data"]

    def run(*command):
        # By a file: buildah was seen to lose the output of a short command.
        to_file = ["sh", "-c", '"$@" > /data/said', "sh", *command]
        done = buildah("run", "--isolation=chroot", *mounts, container, "--", *to_file)
        assert done.returncode == 0, done.stdout + done.stderr
        return (data / "said").read_text()

    run.data = data
    yield run
    buildah("rm", container)


def test_a_run_alone_and_one_by_ranks_give_the_same_arrays(run_in):
    run_in("tbseg", "run", *ARGUMENTS, "/data/alone", *TILES, "--workers", "2")
    run_in("tbseg", "plan", *ARGUMENTS, "/data/ranks", *TILES)
    for step in ("ingest", "split", "classify", "merge"):
        said = run_in("mpiexec", "-n", "2", "tbseg", step, "--run", "/data/ranks", "--json")
        assert said.count('"step"') == 1  # the root alone speaks: they are ranks of one job
    alone, ranks = (run_in.data / name / "segmentation.h5" for name in ("alone", "ranks"))
    assert alone.stat().st_uid == USER
    assert same(datasets(alone), datasets(ranks))


def test_ranks_are_not_bound_and_may_be_more_than_cores(run_in):
    cores = "grep Cpus_allowed_list /proc/self/status"
    allowed = run_in("sh", "-c", cores)
    ranks = len(os.sched_getaffinity(0)) + 1
    assert run_in("mpiexec", "-n", str(ranks), "sh", "-c", cores) == allowed * ranks


FIRST = """
from importlib import import_module
from tbseg_ops.engines.native import ahead, kernels
for name in ahead.MODULES:
    import_module(name)
for kernel in kernels.KERNELS:
    kernel.load()
print(len(kernels.COMPILED), kernels.highest_level())
"""


def test_the_kernels_are_in_the_image(run_in):
    """As in a pod: nothing may be written but a folder that is empty at first."""
    misses, level = run_in("env", "NUMBA_CACHE_DIR=/tmp/numba", "python", "-c", FIRST).split()
    assert level == "None" or misses == "0"


PARALLEL = """
import h5py
from mpi4py import MPI
comm = MPI.COMM_WORLD
with h5py.File("/data/parallel.h5", "w", driver="mpio", comm=comm) as file:
    file.create_dataset("rank", (comm.size,), "i4")[comm.rank] = comm.rank
"""


def test_ranks_write_one_file_together(run_in):
    # h5py for ranks lies apart from the one that tbseg uses.
    run_in("env", "PYTHONPATH=/opt/h5py-mpi", "mpiexec", "-n", "2", "python", "-c", PARALLEL)
    assert datasets(run_in.data / "parallel.h5")["rank"].tolist() == [0, 1]


def test_the_image_has_no_tools_and_no_traces_of_the_build(run_in):
    # Open MPI's own mpicc is there, but calls a gcc that is not.
    tools = "for name in pip cython gcc cc; do command -v $name; done; true"
    assert run_in("sh", "-c", tools) == ""
    assert run_in("sh", "-c", "cat /etc/pip.conf 2>/dev/null; true") == ""
    assert run_in("sh", "-c", "ls -d /usr/sbin/sshd /etc/ssh/ssh_host_*; true") == (
        "/usr/sbin/sshd\n"
    )
    assert run_in("id", "-u").strip() == str(USER)
