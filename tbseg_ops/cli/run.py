"""tbseg run: all steps on this machine, with progress bars."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tbseg_ops import steps
from tbseg_ops.cli.common import ALL_CORES, Json, Threads, Workers, emit, lines, told
from tbseg_ops.cli.plan import summary
from tbseg_ops.cli.specs import (
    Classifier,
    Earlier,
    EngineOption,
    Mask,
    MaxBatches,
    OutputOption,
    ProbabilitiesOption,
    ProbabilityDtypeOption,
    RunDir,
    SplitOption,
    TileOption,
    Update,
    Volume,
    make_spec,
)
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import team, under_mpi
from tbseg_ops.run.calling_off import heed


def run(
    volume: Volume,
    classifier: Classifier,
    run_dir: RunDir,
    tile: TileOption = "256,256,256",
    workers: Workers = ALL_CORES,
    threads: Threads = 1,
    engine: EngineOption = "native",
    output: OutputOption = "mask",
    probabilities: ProbabilitiesOption = "none",
    probability_dtype: ProbabilityDtypeOption = "float32",
    split: SplitOption = "copy",
    mask: Mask = None,
    max_batches: MaxBatches = 500,
    update: Update = False,
    earlier: Earlier = None,
    as_json: Json = False,
) -> None:
    """Do everything: plan, ingest, split, classify, merge, verify, publish.

    Give the same command again after any interruption: finished tiles are kept.
    """
    if under_mpi():
        raise ConfigError(
            "tbseg run is not an MPI program",
            mend="tbseg plan first; then mpiexec -n N tbseg ingest, split, classify and merge",
        )
    start = time.perf_counter()
    spec = make_spec(
        volume,
        classifier,
        mask,
        probabilities,
        tile,
        engine=engine,
        output=output,
        probability_dtype=probability_dtype,
        split=split,
        max_batches=max_batches,
    )
    crew = team(workers)
    with Bars() as bars:
        made = steps.plan(
            spec=spec,
            run=run_dir,
            update=update,
            earlier=tuple(earlier or ()),
            progress=bars("plan"),
        )
        heed(run_dir)
        for line in summary(made):
            bars.say(line)
        steps.ingest(run=run_dir, team=crew, progress=bars("ingest"))
        steps.split(run=run_dir, team=crew, progress=bars("split"))
        done = steps.classify(run=run_dir, threads=threads, team=crew, progress=bars("classify"))
        merged = steps.merge(run=run_dir, team=crew, progress=bars("merge"))
        steps.verify(run=run_dir, threads=threads, team=crew, progress=bars("verify"))
        report = steps.publish(run=run_dir, progress=bars("publish"))
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        emit(
            {
                "segmentation": merged.file,
                "report": report.file,
                "labels": list(made.classifier.labels),
                "tiles": len(made.grid),
                "computed": done.computed,
                "reused": done.reused,
                "taken": done.taken,
                "derived": done.derived,
                "seconds": seconds,
            }
        )
        return
    print(f"tiles: {told(done)}; {seconds:.1f} s")
    print(f"segmentation  {merged.file}")
    print(f"report        {report.file}")


class Bars(AbstractContextManager["Bars"]):
    """One progress bar per step on a terminal; plain lines elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = (
            Progress(
                TextColumn("{task.description:9}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Bars":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, step: str) -> Callable[[str, str, int, int], None]:
        progress = self._progress
        if progress is None:
            return lines(step)
        bar = progress.add_task(step, total=None)

        def advance(piece: str, what: str, done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        return advance

    def say(self, line: str) -> None:
        """A line for people, above the bars."""
        console = self._progress.console if self._progress else Console(stderr=True)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
