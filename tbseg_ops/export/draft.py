"""What is exported is written beside its name and gets that when it is whole.

A hidden folder beside it holds the draft, the list of its finished pieces, and, when all is done,
by what key it was made. So an export that was killed goes on, and a finished one is recognised.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.storage.commit import commit_over, storage_errors
from tbseg_ops.storage.locks import locked
from tbseg_ops.storage.visibility import make_folder

_BESIDE = ".tbseg-export"


class Draft:
    """``path``: where it is written. ``done``: the names of the pieces that need not be again."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self._journal = folder / name, folder / "done"
        self.done: set[str] = set()
        with suppress(FileNotFoundError):
            # The last line may have been cut off by a power cut.
            *whole, _ = self._journal.read_text().split("\n")
            self.done = set(whole)

    def finish(self, piece: str) -> None:
        """Note that a piece is on the disk; by one process only."""
        fd = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, f"{piece}\n".encode())
        finally:
            os.close(fd)
        self.done.add(piece)


@contextmanager
def drafted(final: Path, key: str) -> Iterator[Draft | None]:
    """A draft of ``final``, which takes its place at the end; None if that is there already.

    ``key``: what it is made from. Nobody else works on it meanwhile, where there are locks.
    ConfigError if something that tbseg did not export is there.
    """
    beside = final.parent / _BESIDE
    record, folder = beside / f"{final.name}.key", beside / f"{final.name}.draft"
    with storage_errors(final), locked(beside, needed=False):
        whole = folder / "whole"
        if _text(whole) == key and not (folder / final.name).exists() and final.exists():
            commit_over(record, key.encode())  # it was killed when all but this was done
        if final.exists() and _text(record) == key:
            shutil.rmtree(folder, ignore_errors=True)
            yield None
            return
        if final.exists() and _text(record) is None:
            raise ConfigError(
                "something is there that tbseg has not exported",
                file=final,
                mend="move it away, or choose another folder with --out",
            )
        if _text(folder / "key") != key:
            if folder.exists():
                shutil.rmtree(folder)
            make_folder(folder)
            commit_over(folder / "key", key.encode())
        draft = Draft(folder, final.name)
        yield draft
        commit_over(whole, key.encode())
        if final.exists():
            final.rename(folder / "before")
        record.unlink(missing_ok=True)
        draft.path.rename(final)
        commit_over(record, key.encode())
        shutil.rmtree(folder)


def _text(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return path.read_text()
    return None
