"""tbseg ingest, merge, verify and publish: the steps that work on the whole volume."""

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, RunOption, Threads, Workers, conclude, lines
from tbseg_ops.datasets import release_finished
from tbseg_ops.run import Alone, team
from tbseg_ops.run.cancellation import watch


def ingest(run: RunOption, workers: Workers = ALL_CORES, as_json: Json = False) -> None:
    """Write the slices as one 3D HDF5 dataset. Also runs under mpiexec."""
    watch(run)
    crew = team(workers)
    conclude(steps.ingest(run=run, team=crew, progress=lines("ingest")), crew, as_json)


def merge(run: RunOption, workers: Workers = ALL_CORES, as_json: Json = False) -> None:
    """Merge the tiles into K class arrays of the volume. Also runs under mpiexec."""
    watch(run)
    crew = team(workers)
    conclude(steps.merge(run=run, team=crew, progress=lines("merge")), crew, as_json)


def verify(
    run: RunOption, workers: Workers = ALL_CORES, threads: Threads = 1, as_json: Json = False
) -> None:
    """Check that the result is complete, undamaged, current and without seams."""
    watch(run)
    crew = team(workers)
    result = steps.verify(run=run, threads=threads, team=crew, progress=lines("verify"))
    conclude(result, crew, as_json)


def publish(run: RunOption, as_json: Json = False) -> None:
    """Write the report of the run and its RO-Crate. A dataset's run gives up its claim then."""
    watch(run)
    result = steps.publish(run=run)
    release_finished(run)
    conclude(result, Alone(), as_json)
