"""Hosts of different speed that work on one run folder: a process each, whose engine sleeps.

Batches are dealt as a scheduler does it: whoever is idle gets the next one. The engine takes its
labels from the grey values, so every host gives the same.
"""

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.engines import Engine
from tbseg_ops.engines.contract import NATIVE_VERSION
from tbseg_ops.geometry import Box, Index
from tbseg_ops.run import RunFolder
from tests.runs import planned, stack
from tests.synthetic import noise_volume

TILE: Index = (8, 8, 8)


@dataclass(frozen=True)
class Worked:
    """What hosts did: seconds until the ``end`` of each, and how often their engines were asked.

    ``helped``: tiles that were finished for other hosts' batches. ``rate``: tiles a second if no
    host were ever idle, by what each did of batches of its own. ``said``: all that was printed.
    """

    ends: tuple[float, ...]
    asked: tuple[int, ...]
    rate: float
    helped: int
    said: str

    @property
    def seconds(self) -> float:
        return max(self.ends)


def split_run(folder: Path, classifier: Path, batches: int, tiles: int) -> Path:
    """A run of so many batches of so many tiles, split."""
    from tbseg_ops import steps

    volume = noise_volume((TILE[0], batches * TILE[1], tiles * TILE[2]))
    run, slices = folder / "run", stack(folder / "slices", volume)
    plan = planned(run, slices, classifier=str(classifier), tile=TILE)
    assert len(plan.grid) == batches * tiles
    in_folder = RunFolder(run)
    in_folder.store(plan.in_batches(tiles), in_folder.inputs)
    steps.ingest(run=run)
    steps.split(run=run)
    return run


def work(run: Path, paces: Sequence[float], helping: bool = True) -> Worked:
    """Classify a run on hosts that take so many seconds for a tile."""
    plan = RunFolder(run).plan
    waiting, answers = deque(range(plan.batches)), dict[int, list[dict[str, Any]]]()
    words = [sys.executable, "-m", "tests.fleet", str(run)]
    hosts = [
        Popen([*words, str(pace), str(int(helping))], stdin=PIPE, stdout=PIPE, text=True)
        for pace in paces
    ]

    def follow(number: int) -> None:
        host, answers[number] = hosts[number], []
        assert host.stdin is not None
        assert host.stdout is not None
        while waiting:
            print(waiting.popleft(), file=host.stdin, flush=True)
            answers[number].append(json.loads(host.stdout.readline()))

    try:
        for host in hosts:
            assert host.stdout is not None
            assert host.stdout.readline() == "ready\n"
        threads = [threading.Thread(target=follow, args=(n,)) for n in range(len(hosts))]
        begin = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for host in hosts:
            host.kill()
            host.communicate()
    done = [answer for each in answers.values() for answer in each]
    ends = tuple(answers[n][-1]["end"] - begin for n in range(len(hosts)))
    return Worked(
        ends=ends,
        asked=tuple(answers[n][-1]["asked"] for n in range(len(hosts))),
        rate=sum(
            sum(answer["computed"] for answer in each) / sum(answer["busy"] for answer in each)
            for each in answers.values()
        ),
        helped=sum(answer["helped"] or 0 for answer in done),
        said="\n".join(line for answer in done for line in answer["said"]),
    )


class SleepingEngine:
    """See ``Engine``. Asked for labels only."""

    name, version = "native", NATIVE_VERSION
    labels = ()

    def __init__(self, pace: float) -> None:
        self.pace, self.asked = pace, 0

    def predict_labels(self, raw: NDArray[Any], core: Box) -> NDArray[np.uint8]:
        self.asked += 1
        time.sleep(self.pace)
        labels: NDArray[np.uint8] = raw[core.slices][..., 0] % 2 + np.uint8(1)
        return labels


def _host(run: Path, pace: float, helping: bool) -> None:
    """Does the batches whose numbers it reads, one after the other."""
    from tbseg_ops import steps
    from tbseg_ops.run import workplace
    from tbseg_ops.steps import classify

    engine: Any = SleepingEngine(pace)

    def load(*args: Any, **options: Any) -> Engine:
        made: Engine = engine
        return made

    workplace.load_engine = load  # type: ignore[attr-defined]
    if not helping:
        sys.modules[classify.__module__].help_others = lambda *args: 0  # type: ignore[attr-defined]
    print("ready", flush=True)
    for line in sys.stdin:
        said: list[str] = []

        def say(piece: str, what: str, done: int, total: int, to: list[str] = said) -> None:
            to.append(f"{piece}: {what} ({done} of {total})")

        result = steps.classify(run=run, batch=int(line), progress=say)
        assert result.computed + result.reused == len(RunFolder(run).plan.batch(int(line)))
        answer = {"end": time.monotonic(), "asked": engine.asked, "helped": result.helped}
        answer |= {"computed": result.computed, "busy": result.seconds, "said": said}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _host(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "1")
