"""tbseg run: all steps on this machine, with progress bars."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

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
from tbseg_ops.cli.begin import begun, claimed
from tbseg_ops.cli.common import ALL_CORES, Json, emit, how_done, lines
from tbseg_ops.cli.options import Given, with_options
from tbseg_ops.cli.plan import summary
from tbseg_ops.errors import ConfigError, printable
from tbseg_ops.options import Effort, Target
from tbseg_ops.pipeline import mpi
from tbseg_ops.processes.identity import Process
from tbseg_ops.processes.team import kept
from tbseg_ops.run import RunFolder, RunSpec, team, under_mpi
from tbseg_ops.run.cancellation import watch

_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


@with_options
def run(
    spec: Given[RunSpec],
    target: Given[Target],
    given: Annotated[Given[Effort], "threads", "workers"],
    as_json: Json = False,
) -> None:
    """Do everything: plan, ingest, split, classify, merge, verify, export, publish.

    Give the same command again after any interruption: finished tiles are kept. With --dataset:
    the dataset's next run, or the one that is not finished yet.
    """
    if under_mpi():
        raise ConfigError(
            "tbseg run is not an MPI program",
            mend=f"tbseg plan first; then mpiexec -n N tbseg STEP, for {', '.join(mpi())}",
        )
    start = time.perf_counter()
    holder = f"tbseg run on {socket.gethostname()}, process {os.getpid()}"
    of_dataset = partial(claimed, holder=holder, process=Process.this())
    with begun(spec, target, of_dataset) as work, Bars() as bars:
        own = work.dataset or Effort()
        effort = given.made(threads=own.threads, workers=own.workers)
        threads, crew = effort.threads, team(effort.workers or ALL_CORES)
        folder = work.run
        made = work.plan(bars("plan"))
        watch(folder)
        for line in summary(made):
            bars.say(line)
        with _told(folder), kept(crew) as workers:
            steps.ingest(run=folder, team=workers, progress=bars("ingest"))
            steps.split(run=folder, team=workers, progress=bars("split"))
            done = steps.classify(
                run=folder, threads=threads, team=workers, progress=bars("classify")
            )
            merged = steps.merge(run=folder, team=workers, progress=bars("merge"))
            steps.verify(run=folder, threads=threads, team=workers, progress=bars("verify"))
            if made.spec.publish:
                steps.export(run=folder, team=workers, progress=bars("export"))
            report = steps.publish(run=folder, progress=bars("publish"))
    seconds = round(time.perf_counter() - start, 3)
    if as_json:
        emit(
            {
                "dataset": work.name,
                "run": str(folder.absolute()),
                "segmentation": merged.file,
                "report": report.file,
                "exported": list(report.exported),
                "warnings": list(report.warnings),
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
    print(f"tiles: {how_done(done)}; {seconds:.1f} s")
    for text in report.warnings[len(made.warnings) :]:
        print(f"warning  {printable(text)}")
    print(f"segmentation  {merged.file}")
    print(f"report        {report.file}")
    for path in report.exported:
        print(f"exported      {path}")


@contextmanager
def _told(run: Path) -> Iterator[None]:
    """Somebody who interrupts a run is told what is kept, and how to go on."""
    try:
        yield
    except SystemExit as left:
        folder = RunFolder(run)
        if left.code in _INTERRUPTED and not folder.called_off_file.exists():
            done = len(folder.records("classify").names())
            print(
                f"interrupted: {done} of {len(folder.plan.grid)} tiles are classified, and kept in"
                f" {run}; the same command again goes on",
                file=sys.stderr,
                flush=True,
            )
        raise


class Bars(Progress):
    """One progress bar per step on a terminal; plain lines elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description:9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __call__(self, step: str) -> Callable[[str, str, int, int], None]:
        if self.disable:
            return lines(step)
        bar = self.add_task(step, total=None)
        return lambda piece, what, done, total: self.update(bar, completed=done, total=total)

    def stop(self) -> None:
        """Without bars there is nothing to end; rich would end it with an empty line."""
        if not self.disable:
            super().stop()

    def say(self, line: str) -> None:
        """A line for people, above the bars."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
