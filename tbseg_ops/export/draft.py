"""What is exported is written beside its name and gets that when it is whole.

A hidden folder beside it holds the draft, the list of its finished pieces, and, when all is done,
by what key it was made. So an export that was killed goes on, a finished one is recognised, and of
one of an earlier result what is the same is taken over.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.run.exports import beside, key_file, stored_key
from tbseg_ops.storage.commit import commit_over, storage_errors
from tbseg_ops.storage.locks import locked
from tbseg_ops.storage.visibility import make_folder

# Key of a piece, and digest of its files, by its name.
Pieces = dict[str, tuple[str, str]]


class Draft:
    """``path``: where it is written. ``done``: the pieces that need not be again.

    ``before``: what is there of an earlier result, and its pieces.
    """

    def __init__(self, folder: Path, final: Path) -> None:
        self.path, self.journal = folder / final.name, folder / "done"
        self.before, before = final, _pieces_file(final)
        self.done, self.done_before = _pieces(self.journal), _pieces(before)

    def finish(self, piece: str, key: str = "-", digest: str = "-") -> None:
        """Note that a piece is on the disk; by one process only."""
        fd = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, f"{piece} {key} {digest}\n".encode())
        finally:
            os.close(fd)
        self.done[piece] = key, digest


def _pieces_file(final: Path) -> Path:
    return beside(final) / f"{final.name}.pieces"


def _pieces(journal: Path) -> Pieces:
    found: Pieces = {}
    with suppress(FileNotFoundError):
        # The last line may have been cut off by a power cut.
        *whole, _ = journal.read_text().split("\n")
        for words in (line.split(" ") for line in whole):
            if len(words) == 3:
                found[words[0]] = words[1], words[2]
    return found


@contextmanager
def drafted(final: Path, key: str) -> Iterator[Draft | None]:
    """A draft of ``final``, which takes its place at the end; None if that is there already.

    ``key``: what it is made from. Nobody else works on it meanwhile, where there are locks.
    ConfigError if something that tbseg did not export is there.
    """
    record, folder = key_file(final), beside(final) / f"{final.name}.draft"
    with storage_errors(final), locked(beside(final), needed=False):
        whole = folder / "whole"
        if _text(whole) == key and not (folder / final.name).exists() and final.exists():
            _settle(final, Draft(folder, final), key)  # it was killed when all but this was done
        if stored_key(final) == key:
            shutil.rmtree(folder, ignore_errors=True)
            yield None
            return
        if final.exists() and stored_key(final) is None:
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
        draft = Draft(folder, final)
        yield draft
        commit_over(whole, key.encode())
        if final.exists():
            final.rename(folder / "before")
        record.unlink(missing_ok=True)
        draft.path.rename(final)
        _settle(final, draft, key)
        shutil.rmtree(folder)


def _settle(final: Path, draft: Draft, key: str) -> None:
    """Note what ``final`` is; the list of its pieces first: no key has another's."""
    with suppress(FileNotFoundError):  # it was moved before it was killed
        draft.journal.replace(_pieces_file(final))
    commit_over(key_file(final), key.encode())


def _text(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return path.read_text()
    return None
