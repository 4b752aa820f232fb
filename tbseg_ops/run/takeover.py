"""Pieces of earlier runs, linked into this run instead of being made again.

An earlier run is a help, never a condition: what cannot be read there is made here. Its files are
never written to, and a link keeps them when the earlier run is removed.
"""

from tbseg_ops.run.done import Found, recorded
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.records import Record
from tbseg_ops.storage.commit import commit_link, pause


def take_over(folder: RunFolder, piece: Piece) -> Record | None:
    """Link the file of the first earlier run that has it, and record it; None if that fails.

    It may have been damaged, be removed just now, or another worker has been faster.
    """
    for found in recorded(folder, piece):
        if found.run is not folder and found.is_there:
            if not found.is_intact or not commit_link(found.path, piece.path):
                return None
            pause("recording", piece.path)
            return folder.put(as_taken(found, piece))
    return None


def as_taken(found: Found, piece: Piece, *, kept: bool = True) -> Record:
    """The record of a piece that was taken over; its file is there if ``kept``."""
    origin = found.record.origin or str(found.run.path)
    return found.record.model_copy(
        update={"file": piece.file, "origin": origin, "attempts": 1, "kept": kept}
    )
