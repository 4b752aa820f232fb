"""tbseg run: all steps on this machine, with progress bars."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import typer
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
from tbseg_ops.cli.begin import (
    DatasetOption,
    Work,
    all_given,
    by_process,
    claimed,
    is_given,
    nothing_else,
)
from tbseg_ops.cli.common import ALL_CORES, Json, Threads, Workers, emit, lines, told
from tbseg_ops.cli.plan import summary
from tbseg_ops.cli.specs import (
    ClassifierOrNone,
    Earlier,
    EngineOption,
    Mask,
    MaxBatches,
    OutputOption,
    ProbabilitiesOption,
    ProbabilityDtypeOption,
    RunDirOrNone,
    SplitOption,
    TileOption,
    Update,
    VolumeOrNone,
    make_spec,
)
from tbseg_ops.errors import ConfigError
from tbseg_ops.processes.identity import Process
from tbseg_ops.run import team, under_mpi
from tbseg_ops.run.cancellation import watch


def run(
    context: typer.Context,
    volume: VolumeOrNone = None,
    classifier: ClassifierOrNone = None,
    run_dir: RunDirOrNone = None,
    dataset: DatasetOption = None,
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

    Give the same command again after any interruption: finished tiles are kept. With --dataset:
    the dataset's next run, or the one that is not finished yet.
    """
    if under_mpi():
        raise ConfigError(
            "tbseg run is not an MPI program",
            mend="tbseg plan first; then mpiexec -n N tbseg ingest, split, classify and merge",
        )
    start = time.perf_counter()
    begun: AbstractContextManager[Work]
    if dataset is not None:
        nothing_else(context)
        begun = claimed(dataset, holder=by_process("tbseg run"), process=Process.this())
    else:
        volume, classifier, run_dir = all_given(volume, classifier, run_dir)
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
        begun = nullcontext(Work(spec, run_dir, update, tuple(earlier or ())))
    with begun as work, Bars() as bars:
        if work.dataset is not None:
            workers = workers if is_given(context, "workers") else work.dataset.workers or ALL_CORES
            threads = threads if is_given(context, "threads") else work.dataset.threads
        folder, crew = work.run, team(workers)
        made = work.plan(bars("plan"))
        watch(folder)
        for line in summary(made):
            bars.say(line)
        steps.ingest(run=folder, team=crew, progress=bars("ingest"))
        steps.split(run=folder, team=crew, progress=bars("split"))
        done = steps.classify(run=folder, threads=threads, team=crew, progress=bars("classify"))
        merged = steps.merge(run=folder, team=crew, progress=bars("merge"))
        steps.verify(run=folder, threads=threads, team=crew, progress=bars("verify"))
        report = steps.publish(run=folder, progress=bars("publish"))
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        emit(
            {
                "dataset": work.name,
                "run": str(folder.absolute()),
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
