"""gc: what a dataset's runs hold that nothing needs any more; how much room it takes; its removal.

Only regular files of known names are removed, below real folders; links are never followed. A run
that loses something is marked first (see ``run.pruned``); the result goes before what it was made
from. So a run that is killed in the middle of it is a whole one or a pruned one, and gc goes on.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tbseg_ops.datasets.registry import get
from tbseg_ops.datasets.retention import excess
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.run import RunFolder
from tbseg_ops.run.exports import exported
from tbseg_ops.run.removed import Kind, mark_pruned
from tbseg_ops.storage.commit import is_leftover, pause, storage_errors
from tbseg_ops.stored import Stored

# Beside the folder of that name; volume.h5 reads as zeros where slabs are missing: it goes first.
_FILES: dict[Kind, str] = {"segmentation": "segmentation.h5", "volume": "volume.h5"}
_FOLDERS: tuple[Kind, ...] = ("export", "classes", "tiles", "volume")
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
        for run, kinds in found.items():
            _remove(run, kinds)
    return freed


def _measured(name: str, found: dict[Path, tuple[Kind, ...]]) -> tuple[Freed, ...]:
    links: Files = Counter()
    rows = []
    for run, kinds in found.items():
        what, size = Counter[Kind](), 0
        for kind in kinds:
            for _, _, status in _regular_files(run, kind):
                what[kind] += 1
                links[status.st_dev, status.st_ino] += 1
                if links[status.st_dev, status.st_ino] == status.st_nlink:
                    size += status.st_blocks * _BLOCK
        if what:
            files = what.total()
            rows.append(
                Freed(dataset=name, run=str(run), what=tuple(what), files=files, bytes=size)
            )
    return tuple(rows)


def _remove(run: Path, kinds: tuple[Kind, ...]) -> None:
    kinds = tuple(kind for kind in kinds if next(_regular_files(run, kind), None))
    if not kinds:
        return
    mark_pruned(RunFolder(run), kinds)
    pause("marked", run)
    for kind in kinds:
        for folder, name, _ in _regular_files(run, kind):
            pause("pruning", Path(name))
            with storage_errors(run / kind), suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        if kind == "export":
            _remove_empty(run / kind)


def _remove_empty(folder: Path) -> None:
    """The folders below ``folder`` that nothing is in: those of an OME-Zarr are many."""
    for _, folders, _, inside in os.fwalk(folder, topdown=False):
        for name in folders:
            with suppress(OSError):  # something is in it, or it is a link
                os.rmdir(name, dir_fd=inside)


def _regular_files(run: Path, kind: Kind) -> Iterator[tuple[int, str, os.stat_result]]:
    """The files of one kind: the descriptor of the folder, the name in it, and the file's status.

    With those that were set aside, and what killed processes have left; but not what somebody has
    still open, which the file system removes itself. A folder is held open by
    ``os.fwalk``, so that nobody can exchange it for a link meanwhile.
    """
    file = _FILES.get(kind)
    with storage_errors(run / kind), suppress(FileNotFoundError):
        for path, folders, names, folder in os.fwalk(run, onerror=_raised):
            wanted = names
            if Path(path) == run:
                folders[:] = {kind}.intersection(folders, _FOLDERS)
                wanted = [n for n in names if file and n.startswith((f"{file}.", f".{file}."))]
                wanted += [n for n in names if n == file]
            elif kind == "export":
                if Path(path) == run / kind:
                    ours = exported(Path(path))
                    folders[:] = [name for name in ours if name in folders]
                    wanted = [name for name in names if name in ours]
            else:
                folders.clear()
            for name in sorted(name for name in wanted if not is_leftover(name)):
                with suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield folder, name, status


def _raised(error: OSError) -> None:
    raise error
