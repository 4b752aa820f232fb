"""The command of the README, over and over: what does it print that it should not?

``python -m tests.faults.rounds 50``: each round is a fresh ``tbseg run --workers 2``. It must end
with 0, say nothing on standard error but what becomes of each piece, give the same bytes each time,
and leave no process and no temporary file.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tbseg_ops.pipeline import STEPS
from tbseg_ops.processes.lifetime import session
from tests.runs import VESSELS, command, stack, temporary_files

# What becomes of pieces, and the summary of a plan.
_PIECE = rf"({'|'.join(step.name for step in STEPS)}) .+ \(\d+ of \d+\)"
_SUMMARY = r"(volume|classes|tiles|disk|memory|note)  +.+"
_EXPECTED = re.compile(f"{_PIECE}|{_SUMMARY}", re.ASCII)


def unexpected(told: str) -> list[str]:
    """The lines of standard error that are no progress."""
    return [line for line in told.splitlines() if not _EXPECTED.fullmatch(line)]


def problems(slices: Path, run: Path, tile: str, like: bytes | None) -> list[str]:
    """Of one round; ``like``: what the merged file must be."""
    words = ("run", slices, VESSELS.classifier, run, "--tile", tile, "--workers", 2)
    process = subprocess.Popen(
        command(*words),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = process.communicate(timeout=300)[1]
    end = time.monotonic() + 10  # multiprocessing's tracker of resources ends by itself
    while (there := session(process.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    left = [f"process {one.pid} is left" for one in there]
    found = unexpected(told) + left + [f"{name} is left" for name in temporary_files(run)]
    if process.returncode != 0:
        found.append(f"exit code {process.returncode}")
    elif like not in (None, (run / "segmentation.h5").read_bytes()):
        found.append("another result")
    return found


def main(rounds: int) -> bool:
    """Print what was found; whether that is nothing."""
    bad, first = 0, None
    with tempfile.TemporaryDirectory() as name:
        slices = stack(Path(name) / "slices")
        for number in range(rounds):
            run = Path(name) / f"run{number}"
            found = problems(slices, run, "20,24,30", first)
            if first is None and not found:
                first = (run / "segmentation.h5").read_bytes()
            bad += bool(found)
            for line in found:
                print(f"round {number + 1}: {line}", flush=True)
    print(f"{rounds} rounds, {bad} with something that should not be", flush=True)
    return bad == 0


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 50) else 1)
