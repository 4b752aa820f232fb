"""Looks whether HDF5 files can be read; started by ``arms_length``, never imported.

    python -I prober.py

A line of standard input is [path, seconds] in JSON. Everything that the run reads of a file but its
voxels is read: links, forms, attributes, the index of its chunks. The answer is a line in JSON:
null, or [the system's error number or null, what is wrong]. The process ends itself by SIGPROF when
a file takes more than so many seconds of computing: HDF5 loops for ever on some damaged files.
"""

import json
import re
import resource
import signal
import sys

import h5py


def look(path: str) -> None:
    with h5py.File(path, "r", locking=False) as file:
        _attributes(file)

        def visit(name: bytes, link: object) -> None:
            if isinstance(link, h5py.HardLink):
                _look_at(file[name])

        file.visititems_links(visit)


def _look_at(item: h5py.HLObject) -> None:
    _attributes(item)
    if not isinstance(item, h5py.Dataset):
        return
    _ = item.dtype, item.shape, item.maxshape, item.fillvalue, item.external
    if item.is_virtual:
        item.virtual_sources()
    elif item.chunks is not None:
        item.id.chunk_iter(lambda chunk: None)


def _attributes(item: h5py.HLObject) -> None:
    for name in item.attrs:
        _ = item.attrs[name]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent's, who ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        path, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        found = None
        try:
            look(path)
        except Exception as error:  # damage comes as any of them
            number = getattr(error, "errno", None)
            if number is None and (match := re.search(r"errno = (\d+)", str(error))):
                number = int(match[1])
            found = [number, (str(error).splitlines() or [type(error).__name__])[0][:200]]
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
