"""gc: what a dataset's runs hold that nothing needs any more; how much room it takes; its removal.

Only regular files of known names are removed, below real folders; links are never followed. A run
that loses something is marked first (see ``run.pruned``); the result goes before what it was made
from. So a run that is killed in the middle of it is a whole one or a pruned one, and gc goes on.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tbseg_ops.datasets.registry import get
from tbseg_ops.datasets.retention import Excess, excess
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.run import RunFolder
from tbseg_ops.run.removed import Kind, mark_pruned
from tbseg_ops.storage.commit import pause, storage_errors
from tbseg_ops.stored import Stored

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Beside the folder of that name; volume.h5 reads as zeros where slabs are missing: it goes first.
_FILES: dict[Kind, str] = {"segmentation": "segmentation.h5", "volume": "volume.h5"}
_FOLDERS: tuple[Kind, ...] = ("classes", "tiles", "volume")
_NO_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}  # of a link: one of the latter
_BLOCK = 512  # bytes, of st_blocks

Files = Counter[tuple[int, int]]  # device and inode: links that are removed


class Freed(Stored):
    """What one run loses. ``bytes``: the room on disk that this gives back.

    A file that has another name elsewhere takes its room as before; where gc removes several names
    of one file, the last one counts.
    """

    dataset: str
    run: str
    what: tuple[Kind, ...]
    files: int
    bytes: int


def gc(*, name: str, remove: bool = False) -> tuple[Freed, ...]:
    """What the dataset ``name`` would give back by its retention; with ``remove``, it is removed.

    While it is removed nobody can begin a run of the dataset. See ``retention.excess``.
    """
    dataset = get(name)
    runs = Runs(Path(dataset.runs), name)
    if not remove:
        return _measured(name, excess(runs, dataset.retention))
    if not runs.path.is_dir():
        return ()
    with runs.locked():
        found = excess(runs, dataset.retention)
        freed = _measured(name, found)
        for part in found:
            _remove(part)
    return freed


def _measured(name: str, found: list[Excess]) -> tuple[Freed, ...]:
    links: Files = Counter()
    rows = []
    for part in found:
        what, files, size = [], 0, 0
        for kind in part.kinds:
            before = files
            for _, _, status in _regular_files(part.run, kind):
                files += 1
                links[status.st_dev, status.st_ino] += 1
                if links[status.st_dev, status.st_ino] == status.st_nlink:
                    size += status.st_blocks * _BLOCK
            what += [kind] if files > before else []
        if files:
            row = Freed(dataset=name, run=str(part.run), what=tuple(what), files=files, bytes=size)
            rows.append(row)
    return tuple(rows)


def _remove(part: Excess) -> None:
    kinds = tuple(kind for kind in part.kinds if next(_regular_files(part.run, kind), None))
    if not kinds:
        return
    mark_pruned(RunFolder(part.run), kinds)
    pause("marked", part.run)
    for kind in kinds:
        for folder, name, _ in _regular_files(part.run, kind):
            pause("pruning", Path(name))
            with storage_errors(part.run / kind), suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)


def _regular_files(run: Path, kind: Kind) -> Iterator[tuple[int, str, os.stat_result]]:
    """The files of one kind: the descriptor of the folder, the name in it, and the file's status.

    With those that were set aside, and what killed processes have left.
    """
    with _opened(run) as top:
        if top is None:
            return
        if kind in _FILES:
            file = _FILES[kind]
            yield from _in(
                top, run, lambda name: name == file or name.startswith((f"{file}.", f".{file}."))
            )
        if kind in _FOLDERS:
            with _opened(run / kind, top) as part:
                if part is not None:
                    yield from _in(part, run / kind, lambda name: True)


def _in(
    folder: int, path: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[int, str, os.stat_result]]:
    with storage_errors(path):
        names = sorted(filter(wanted, os.listdir(folder)))
    for name in names:
        with storage_errors(path / name):
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue
        if stat.S_ISREG(status.st_mode):
            yield folder, name, status


@contextmanager
def _opened(path: Path, above: int | None = None) -> Iterator[int | None]:
    """A real folder, opened so that nobody can exchange it meanwhile; None if there is none."""
    with storage_errors(path):
        try:
            fd = os.open(path if above is None else path.name, _FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            fd = -1
    if fd < 0:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
