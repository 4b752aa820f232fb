"""``python -m tests.bench.pages``: what looking at a run costs, for 30,720 tiles.

A run nine tenths of which are classified, as ``tests.bench.tiles`` makes them, is served as
``tbseg view`` does, by a process of its own, and looked at by others.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from tbseg_ops.run import RunFolder
from tests.bench.tiles import made

GRID = (30, 32, 32)
VIEWERS = 5
COMMIT_SECONDS = 2.0  # between tiles
FIRST = ["", "page.js", "api/run", "api/layer?axis=0&number=15"]
PICTURES = [f"api/plane?kind={kind}&axis=0&at=496" for kind in ("raw", "labels")]


def main() -> None:
    options = argparse.ArgumentParser(prog="make bench-pages", description=__doc__)
    options.add_argument("--seconds", type=float, default=30.0, help="that the viewers look")
    rows = Table("", "seconds", "of them processor")
    with tempfile.TemporaryDirectory(prefix="tbseg-bench-") as name:
        run = made(Path(name), GRID)
        left = _taken_away(run)
        command = [sys.executable, "-m", "tbseg_ops.cli.main", "view", str(run), "--no-browser"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = server.stdout.readline().strip()
                for what, paths in {
                    "the page and its first layer": FIRST,
                    "the pictures of its slice": PICTURES,
                    "a layer across x": ["api/layer?axis=2&number=15"],
                    "the picture across x": ["api/plane?kind=raw&axis=2&at=496"],
                    "the tiles of all layers": ["api/progress"],
                    "is there something new": ["api/revision"],
                }.items():
                    rows.add_row(what, *(f"{n:.3f}" for n in _cost(server.pid, url, paths)))
                used = _watched(server.pid, url, left, options.parse_args().seconds)
                rows.add_row(f"{VIEWERS} viewers, a second", "", f"{used:.3f}")
            finally:
                server.terminate()
    Console(width=100).print(rows)


def _taken_away(run: Path) -> list[tuple[Path, bytes]]:
    """The records of each tenth tile, which are removed: they are committed while one looks."""
    folder = RunFolder(run)
    records = folder.records("classify")
    paths = [records.path(tile.name) for tile in folder.plan.grid if tile.index % 10 == 0]
    found = [(path, path.read_bytes()) for path in paths]
    for path in paths:
        path.unlink()
    return found


def _cost(pid: int, url: str, paths: list[str]) -> tuple[float, float]:
    """Seconds until all is answered, pieces of it included, and what the server spent of them."""
    begin, spent = time.monotonic(), _processor(pid)
    for path in paths:
        status = 0
        while status != 200:
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
        revision = _asked(url, "api/revision")
        if revision != seen:
            seen = revision
            for path in ("api/run", FIRST[-1], "api/progress?axis=0"):
                _asked(url, path)
        time.sleep(1)


def _asked(url: str, path: str) -> str:
    with urlopen(url + path, timeout=60) as answer:
        body: bytes = answer.read()
    return body.decode()


def _processor(pid: int) -> float:
    """Seconds of processor that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
