"""How much disk a run takes."""

from collections.abc import Iterator
from math import prod

import numpy as np

from tbseg_ops.geometry import Grid, Tile
from tbseg_ops.run import Plan
from tbseg_ops.run.exports import asked
from tbseg_ops.run.work_left import WorkLeft

# Compressed size of a class or probability map as a share of its raw size; deliberately high.
_MASK_SHARE, _INTENSITY_SHARE, _PROBABILITY_SHARE = 0.1, 0.7, 0.4
_ALL_LEVELS = 1.5  # of the first one: thick voxels are halved on two axes only, at first


def disk_needed(made: Plan) -> dict[str, int]:
    """Bytes that a run will take on disk, by kind; the compressed ones are estimates from above."""
    itemsize = np.dtype(made.volume.dtype).itemsize * made.volume.channels
    voxels = prod(made.shape)
    halo = sum(tile.box.size for tile in _sample(made.grid)) / sum(
        tile.core.size for tile in _sample(made.grid)
    )
    labels = len(made.classifier.labels)
    classes = voxels * (labels + 1) * _MASK_SHARE
    if made.spec.output == "intensity":
        classes = voxels * (_MASK_SHARE + itemsize * _INTENSITY_SHARE)
    maps = len(made.probability_labels) * np.dtype(made.spec.probability_dtype).itemsize
    outputs = int(classes + voxels * maps * _PROBABILITY_SHARE)
    return {
        "volume": 0 if made.refers else made.read.size * itemsize,
        "tiles": int(voxels * itemsize * halo) if made.spec.split == "copy" else 0,
        "classes": outputs,
        "segmentation": outputs,
        "export": int(sum(_exported(made))),
    }


def _exported(made: Plan) -> Iterator[float]:
    """Bytes of each image that the run exports; of OME-Zarr all levels."""
    for part in asked(made):
        for _, image in part.inside:
            size = prod(made.shape) * max(1, image.channels) * np.dtype(image.dtype).itemsize
            if part.to == "ome-zarr":
                share = _MASK_SHARE if image.is_label else _PROBABILITY_SHARE
                share = 1.0 if image.dataset is None else share
                yield size * share * _ALL_LEVELS
            else:
                yield size


def _sample(grid: Grid) -> list[Tile]:
    return [grid[i] for i in range(0, len(grid), max(1, len(grid) // 1000))]


def disk_missing(made: Plan, left: WorkLeft) -> float:
    """Bytes that a run will still take on disk, by the estimates of ``disk_needed``.

    Pieces that are taken over count as links: they take no space.
    """
    ingest, split, classify = (left.of(step) for step in ("ingest", "split", "classify"))
    needed = disk_needed(made)
    shares = {
        "volume": ingest.share_to_write,
        "tiles": split.share_to_write,
        "classes": classify.share_to_write,
    }
    merged = 0 if left.merged else needed["segmentation"] + needed["export"]
    return merged + sum(needed[kind] * share for kind, share in shares.items())
