"""One tile in a process of its own: ``python -m tests.bench.child JOB.json`` prints JSON.

"peak": bytes the process held at most, all in all. "beyond": of these, what the call took on top of
what was there before it and of the array it returned.
"""

import json
import sys
from pathlib import Path

import numpy as np

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines import load_engine
from tbseg_ops.geometry import Box


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    raw = np.load(job["volume"])
    passport = read_passport(job["classifier"])
    engine = load_engine(job["engine"], passport, volume_shape=raw.shape[:3], threads=1)
    # getrusage would tell the peak of the process that started this one, if that was larger.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    out = engine.predict(raw, Box(tuple(job["lo"]), tuple(job["hi"])))
    peak = _status("VmHWM")
    print(json.dumps({"peak": peak, "beyond": peak - before - out.nbytes}))


def _status(field: str) -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
