"""Reads text of variable length out of an HDF5 file; started by ``texts``, never imported.

    python -I text_reader.py FILE SECONDS MOST

A line of standard input is a list of ``[object, attribute or null]`` in JSON; the texts of each of
these datasets and attributes are written in C order, each behind its length (8 bytes,
little-endian). The process ends itself when it is busy for more than SECONDS, and after the length
of a text beyond MOST bytes.
"""

import json
import signal
import sys
from typing import Any

_SECONDS = int(sys.argv[2])
signal.alarm(_SECONDS)

import h5py  # noqa: E402 - loading it is part of the time
import numpy as np  # noqa: E402


def main() -> None:
    path, most = sys.argv[1], int(sys.argv[3])
    out = sys.stdout.buffer
    with h5py.File(path, "r", locking=False) as file:
        for line in sys.stdin:
            signal.alarm(_SECONDS)
            for name, attribute in json.loads(line):
                owner = file[name.encode("utf-8", "surrogateescape")]
                values = owner if attribute is None else np.array(owner.attrs[attribute], object)
                for index in np.ndindex(values.shape):  # singly: all may be the same huge text
                    text: Any = values[index]
                    if isinstance(text, str):
                        text = text.encode("utf-8", "surrogateescape")
                    out.write(len(text).to_bytes(8, "little"))
                    if len(text) > most:
                        return
                    out.write(text)
            out.flush()
            signal.alarm(0)


if __name__ == "__main__":
    main()
