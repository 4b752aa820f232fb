"""Prints one text attribute of an HDF5 file; started by ``untrusted``, never imported.

    python -I text_reader.py FILE OBJECT ATTRIBUTE

Text of variable length lies in a heap of the file, and HDF5 (2.0) crashes or loops for ever on a
damaged heap: a flipped byte is enough. That must not take the caller with it.
"""

import sys

import h5py


def main() -> None:
    path, owner, name = sys.argv[1:]
    with h5py.File(path, "r", locking="best-effort") as file:
        value = file[owner].attrs[name]
    text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    sys.stdout.buffer.write(text)


if __name__ == "__main__":
    main()
