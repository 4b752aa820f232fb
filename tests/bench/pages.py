"""``python -m tests.bench.pages``: what looking at a run costs, for 30,720 tiles.

A run nine tenths of which are classified, as ``tests.bench.tiles`` makes them, is served as
``tbseg view`` does, by a process of its own, and looked at by others. Where chromium is installed
it looks at a small run, too: how long after its commit a tile is on the map, and in 3D.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from tbseg_ops import steps
from tbseg_ops.run import RunFolder, RunSpec
from tests.bench.tiles import made
from tests.browser import PROGRAM, browser
from tests.reference_sets import ReferenceSet

GRID = (30, 32, 32)
VIEWERS = 5
COMMIT_SECONDS = 2.0  # between tiles
NUCLEI = ReferenceSet("nuclei")
TILE = (30, 64, 64)
COMMITS = 5  # of which each is waited for
STILL_SECONDS = 12.0
MOST_SECONDS = 60.0  # then it is not seen at all
FIRST = ["", "page.js", "api/run", "api/layer?axis=0&number=15"]
PICTURES = [f"api/plane?kind={kind}&axis=0&at=496" for kind in ("raw", "labels")]


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-pages", description=__doc__)
    options.add_argument("--seconds", type=float, default=30.0, help="that the viewers look")
    chosen = options.parse_args()
    rows = Table("", "seconds", "of them processor")
    with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
        run = made(Path(name), GRID)
        left = _taken_away(run)
        with _served(run) as (pid, url):
            first = _cost(pid, url, [*FIRST, PICTURES[0]], whole=False)
            rows.add_row("the page, its first layer, a first picture", *_written(first))
            for what, paths in {
                "the pictures of its slice": PICTURES,
                "a layer across x": ["api/layer?axis=2&number=15"],
                "the picture across x": ["api/plane?kind=raw&axis=2&at=496"],
                "the tiles of all layers": ["api/progress"],
                "is there something new": ["api/revision"],
            }.items():
                rows.add_row(what, *_written(_cost(pid, url, paths)))
            used = _watched(pid, url, left, chosen.seconds)
            rows.add_row(f"{VIEWERS} viewers, a second", "", f"{used:.3f}")
    if PROGRAM is not None:
        with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
            for where, found in _seen(Path(name)).items():
                told = f"{median(found):.1f} (at most {max(found):.1f})"
                rows.add_row(f"from a commit until it is {where}", told, "")
    Console(width=100).print(rows)


@contextmanager
def _served(run: Path) -> Iterator[tuple[int, str]]:
    """The process that serves a run, and its address."""
    command = [sys.executable, "-m", "tbseg_ops.cli.main", "view", str(run), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.pid, server.stdout.readline().strip()
        finally:
            server.terminate()


def _seen(folder: Path) -> dict[str, list[float]]:
    """Seconds from the commit of each of some tiles until the page shows it."""
    run = folder / "run"
    spec = RunSpec.of(volume=f"{NUCLEI.volume}:/data", classifier=str(NUCLEI.classifier), tile=TILE)
    steps.plan(spec=spec, run=run)
    steps.ingest(run=run)
    steps.split(run=run)
    *tiles, last = RunFolder(run).plan.grid
    steps.classify(**_only(run, last.name))  # kernels may have to be compiled
    found: dict[str, list[float]] = {"on the map": [], "in 3D": []}
    with _served(run) as (_, url), browser(folder / "profile", webgl=True) as window:
        for number, tile in enumerate(tiles[: 2 * COMMITS]):
            in_3d = number >= COMMITS
            z, y, x = ((a + b) // 2 for a, b in zip(tile.core.lo, tile.core.hi, strict=True))
            window.open(f"{url}volume#{z},{y},{x}" if in_3d else f"{url}#z={z}")
            there = f"document.querySelector('#map [data-name={tile.name}]')"
            if in_3d:
                time.sleep(STILL_SECONDS)  # until all of the volume is there
            else:
                window.wait(there)
            before = window.middle()
            work = threading.Thread(target=steps.classify, kwargs=_only(run, tile.name))
            work.start()
            if in_3d:
                end = time.monotonic() + MOST_SECONDS
                while window.middle() == before and time.monotonic() < end:
                    time.sleep(0.02)
            else:
                window.wait(f"{there}.dataset.state === 'done'")
            seen = time.time()
            work.join()
            record = RunFolder(run).records("classify").path(tile.name)
            found["in 3D" if in_3d else "on the map"].append(seen - record.stat().st_mtime)
    return found


def _only(run: Path, name: str) -> dict[str, Any]:
    return {"run": run, "tiles": (name,)}


def _taken_away(run: Path) -> list[tuple[Path, bytes]]:
    """The records of each tenth tile, which are removed: they are committed while one looks."""
    folder = RunFolder(run)
    records = folder.records("classify")
    paths = [records.path(tile.name) for tile in folder.plan.grid if tile.index % 10 == 0]
    found = [(path, path.read_bytes()) for path in paths]
    for path in paths:
        path.unlink()
    return found


def _written(cost: tuple[float, float]) -> tuple[str, str]:
    return f"{cost[0]:.3f}", f"{cost[1]:.3f}"


def _cost(pid: int, url: str, paths: list[str], whole: bool = True) -> tuple[float, float]:
    """Seconds until all is answered, and what the server spent of them.

    ``whole``: with all pieces of what is answered in pieces, not just the first ones.
    """
    begin, spent = time.monotonic(), _processor(pid)
    for path in paths:
        status = 0
        while status != 200 and (whole or not status):
            with urlopen(url + path, timeout=60) as answer:
                status, body = answer.status, answer.read()
            if path == "api/progress" and any(n["done"] is None for n in json.loads(body)):
                status = 206
    return time.monotonic() - begin, _processor(pid) - spent


def _watched(pid: int, url: str, left: list[tuple[Path, bytes]], seconds: float) -> float:
    """Processor seconds a second that the server spends on viewers, while tiles are committed."""
    end = time.monotonic() + seconds
    viewers = [threading.Thread(target=_look, args=(url, end)) for _ in range(VIEWERS)]
    begin, spent = time.monotonic(), _processor(pid)
    for viewer in viewers:
        viewer.start()
    while time.monotonic() < end:
        time.sleep(COMMIT_SECONDS)
        path, data = left.pop()
        draft = path.with_suffix(".tmp")
        draft.write_bytes(data)
        draft.rename(path)
    for viewer in viewers:
        viewer.join()
    return (_processor(pid) - spent) / (time.monotonic() - begin)


def _look(url: str, end: float) -> None:
    """What the page asks while it is open."""
    seen = ""
    while time.monotonic() < end:
        revision = json.loads(_asked(url, "api/revision")[0])["revision"]
        if revision != seen:
            _asked(url, "api/run")
            told = [_asked(url, path)[1] for path in (FIRST[-1], "api/progress?axis=0")]
            seen = revision if told == [revision] * 2 else ""
        time.sleep(1)


def _asked(url: str, path: str) -> tuple[bytes, str | None]:
    """An answer, and the revision that it tells of."""
    with urlopen(url + path, timeout=60) as answer:
        return answer.read(), answer.headers["X-Revision"]


def _processor(pid: int) -> float:
    """Seconds of processor that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
