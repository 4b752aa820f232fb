"""A piece of work: what one step makes under one name. The run folder hands it out."""

from dataclasses import dataclass
from pathlib import Path

from tbseg_ops.run.records import Step

WHOLE = "volume"  # the name of the pieces that stand for the whole volume


@dataclass(frozen=True)
class Piece:
    """What one step makes under one name: a slab, a tile's file, or what is made of the whole.

    ``file``: relative to the folder ``run``. ``predicted``, of class files: identity of what the
    engine computes for the tile, whatever is written of it. ``refers``, of sub-volumes: the file
    holds no voxels, but says where in the volume they are.
    """

    run: Path
    step: Step
    name: str
    key: str
    file: str
    predicted: str = ""
    refers: bool = False

    @property
    def path(self) -> Path:
        return self.run / self.file
