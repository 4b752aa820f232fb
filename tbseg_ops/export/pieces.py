"""Pieces of an export: by what their voxels are known, what is on the disk, what is taken over."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tbseg_ops.errors import ResourceError
from tbseg_ops.geometry import Box
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.images import Image
from tbseg_ops.run.records import Record, sha256_of
from tbseg_ops.storage.commit import commit_link
from tbseg_ops.stored import digest_of
from tbseg_ops.view.zarr import Space


class Piece(Protocol):
    """What a worker writes at a time: equal keys, equal files, which lie below ``root``.

    ``files``: none if the piece is a part of a larger file. One that holds zeros may be missing.
    """

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def root(self) -> Path: ...
    @property
    def files(self) -> tuple[str, ...]: ...


class Contents:
    """The voxels of a run, by what they were made from; ``records``: of its class files."""

    def __init__(self, folder: RunFolder, records: Sequence[Record]) -> None:
        self._folder, self._records = folder, records
        self._grid = folder.plan.grid
        self._space = repr(Space.of(folder.plan))

    def key(self, image: Image, box: Box) -> str:
        """Equal keys, equal voxels of the image in ``box``, in coordinates of the result."""
        if image.dataset is None:
            parts = [(at.lo, key) for at, key in self._slabs if at.intersection(box)]
        else:
            tiles = self._grid.meeting(box)
            parts = [(tile.core.lo, self._records[tile.index].chunks) for tile in tiles]
        return digest_of([repr(image), self._space, box.lo, box.hi, parts])

    @cached_property
    def _slabs(self) -> list[tuple[Box, str]]:
        plan = self._folder.plan
        return [(plan.slab_box(slab), self._folder.slab(slab).key) for slab in plan.slabs]


def digest(root: Path, files: Sequence[str]) -> str:
    """Of what the files hold."""
    return digest_of([_sha256(root / file) for file in files])


def take(before: Path, piece: Piece, expected: str) -> bool:
    """Take a piece over from an earlier export, if it is there as it was written."""
    if not piece.files or digest(before, piece.files) != expected:
        return False
    for file in piece.files:
        commit_link(before / file, piece.root / file)
    return digest(piece.root, piece.files) == expected


def unlike(file: Path) -> ResourceError:
    """What is said of a file that does not hold what was written."""
    return ResourceError(
        "a file was read again after it was written, and holds something else",
        file=file,
        mend="the disk or this machine's memory is at fault; the same command again, on another"
        " disk if it comes again",
    )


def _sha256(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return sha256_of(path)
    return None
