"""Images as OME-Zarr 0.5: sharded Zarr 3 by tensorstore, several levels, colours and names.

A piece is a shard, so no two writers meet. A coarser level is made of the one before: labels by the
most frequent of the voxels, values by their mean; thick voxels are halved where they are thin.
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from tbseg_ops.export.pieces import Contents, unlike
from tbseg_ops.geometry import Box, Index
from tbseg_ops.run.images import Image
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.run.plan import Plan
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.storage.commit import commit_over
from tbseg_ops.stored import digest_of
from tbseg_ops.view.paint import colors_of
from tbseg_ops.view.zarr import Space, axes, placed

VERSION = "0.5"
_CHUNK: Index = (64, 128, 128)
_CHUNKS: Index = (4, 4, 4)  # of a shard
_SMALL = 128  # the longest side of the last level
# A worker has one core, and looks at nothing twice.
_CONTEXT = {"data_copy_concurrency": {"limit": 1}, "cache_pool": {"total_bytes_limit": 0}}


@dataclass(frozen=True)
class Level:
    """``shape`` (z, y, x); how many voxels of the result each is on each axis, and of the last."""

    shape: Index
    steps: Index
    factors: Index


@dataclass(frozen=True)
class Shard:
    """One piece: a box (z, y, x) of a level of the image at ``where`` below ``root``."""

    image: Image
    root: Path
    where: str
    level: int
    box: Box
    key: str
    files: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return self.root / self.where

    @property
    def name(self) -> str:
        return f"{self.image.name}/{self.level}/{'.'.join(map(str, self.box.lo))}"


def levels_of(plan: Plan) -> list[Level]:
    """From the full resolution to one that is small on each axis."""
    found = [Level(plan.shape, (1, 1, 1), (1, 1, 1))]
    voxel = Space.of(plan).voxel
    while max(found[-1].shape) > _SMALL:
        last = found[-1]
        sides = [v * step for v, step in zip(voxel, last.steps, strict=True)]
        least = min(side for side, n in zip(sides, last.shape, strict=True) if n > 1)
        z, y, x = (
            2 if n > 1 and side < 2 * least else 1
            for side, n in zip(sides, last.shape, strict=True)
        )
        found.append(_coarser(last, (z, y, x)))
    return found


def _coarser(last: Level, by: Index) -> Level:
    shape = [ceil(n / f) for n, f in zip(last.shape, by, strict=True)]
    steps = [s * f for s, f in zip(last.steps, by, strict=True)]
    return Level((shape[0], shape[1], shape[2]), (steps[0], steps[1], steps[2]), by)


def create(plan: Plan, root: Path, inside: Sequence[tuple[str, Image]]) -> None:
    """The groups and the empty arrays of one OME-Zarr."""
    labels = [where.removeprefix("labels/") for where, _ in inside if where]
    if labels:
        _group(root / "labels", {"labels": labels})
    for where, image in inside:
        folder = root / where
        _group(folder, _metadata(plan, image, inside_of_raw=bool(where)))
        for number, level in enumerate(levels_of(plan)):
            ts.open(_array(image, folder / str(number), level), create=True, open=True).result()


def shards(
    plan: Plan, root: Path, inside: Sequence[tuple[str, Image]], contents: Contents
) -> Iterator[list[Shard]]:
    """Those of one level after the other: each needs all of the one before it."""
    last: dict[str, dict[Index, str]] = {}  # the keys of the level before, by image and place
    levels = levels_of(plan)
    for number, level in enumerate(levels):
        found = []
        for where, image in inside:
            side = _sides(image, level)[1]
            keys: dict[Index, str] = {}
            for box in Box((0, 0, 0), level.shape).blocks(side):
                at = _divided(box.lo, side)
                if number == 0:
                    key = contents.key(image, box)
                else:
                    before = _before(image, levels[number - 1], level, box)
                    key = digest_of([level.factors, box.shape, [last[where][b] for b in before]])
                keys[at] = key
                files = tuple(_files(image, f"{where}/{number}".lstrip("/"), at))
                found.append(Shard(image, root, where, number, box, key, files))
            last[where] = keys
        yield found


def _before(image: Image, last: Level, level: Level, box: Box) -> Iterable[Index]:
    """The places of the shards of the level before of which a box is made."""
    side = _sides(image, last)[1]
    lo = _divided(tuple(a * f for a, f in zip(box.lo, level.factors, strict=True)), side)
    ends = zip(box.hi, level.factors, last.shape, strict=True)
    hi = _divided(tuple(min(b * f, n) - 1 for b, f, n in ends), side)
    z, y, x = (range(a, b + 1) for a, b in zip(lo, hi, strict=True))
    return product(z, y, x)


def _divided(voxel: Sequence[int], side: Index) -> Index:
    z, y, x = (v // s for v, s in zip(voxel, side, strict=True))
    return z, y, x


def _files(image: Image, folder: str, at: Index) -> Iterator[str]:
    """Of a shard, one for each channel."""
    for channel in range(image.channels) if image.channels else [None]:
        place = [*([] if channel is None else [channel]), *at]
        yield "/".join([folder, "c", *map(str, place)])


def write(place: Workplace, shard: Shard) -> None:
    """Read or make the voxels of a shard, write it, by renaming, and read it again."""
    image, level = shard.image, levels_of(place.folder.plan)[shard.level]
    target, box = _opened(shard.folder, shard.level, write=True), shard.box.slices
    if shard.level == 0:
        voxels = image.read(place.folder, shard.box)
        if image.channels:
            voxels = np.moveaxis(voxels, -1, 0)
    else:
        voxels = _coarsened(shard, level)
    try:
        target[(..., *box)].write(np.ascontiguousarray(voxels)).result()
    except ValueError as error:  # tensorstore has the system's words, and no number
        if os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EDQUOT) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise
    _check(shard, voxels)


def _coarsened(shard: Shard, level: Level) -> NDArray[np.generic]:
    """The voxels of a shard from the level before, which is 8 times as large: by chunks."""
    channels = [shard.image.channels] if shard.image.channels else []
    before: ts.TensorStore = _opened(shard.folder, shard.level - 1, write=False)
    method: Literal["mode", "mean"] = "mode" if shard.image.is_label else "mean"
    coarse = ts.downsample(before, [*(1 for _ in channels), *level.factors], method)
    voxels = np.empty([*channels, *shard.box.shape], shard.image.dtype)
    for part in shard.box.blocks(_CHUNK):
        there = part.relative_to(shard.box.lo).slices
        voxels[(..., *there)] = coarse[(..., *part.slices)].read().result()
    return voxels


def _check(shard: Shard, voxels: NDArray[np.generic]) -> None:
    """ResourceError unless the voxels are on the disk; read a plane of chunks at a time."""
    stored = _opened(shard.folder, shard.level, write=False)
    (z0, y0, x0), (z1, y1, x1) = shard.box.lo, shard.box.hi
    for z in range(z0, z1, _CHUNK[0]):
        end = min(z + _CHUNK[0], z1)
        there = stored[..., z:end, y0:y1, x0:x1].read().result()
        if not np.array_equal(voxels[..., z - z0 : end - z0, :, :], there, equal_nan=True):
            raise unlike(shard.root / shard.files[0])


def _opened(folder: Path, level: int, write: bool) -> Any:
    spec = {"driver": "zarr3", "kvstore": _store(folder / str(level)), "context": _CONTEXT}
    return ts.open(spec, read=True, write=write).result()


def _store(folder: Path) -> dict[str, str]:
    return {"driver": "file", "path": f"{folder}/"}


def _sides(image: Image, level: Level) -> tuple[Index, Index]:
    """Chunk and shard (z, y, x)."""
    chunk = [min(c, n) for c, n in zip(_CHUNK, level.shape, strict=True)]
    most = list(_CHUNKS)
    if np.dtype(image.dtype).itemsize > 2:
        most[0] = 2
    shard = [c * min(k, ceil(n / c)) for c, k, n in zip(chunk, most, level.shape, strict=True)]
    return (chunk[0], chunk[1], chunk[2]), (shard[0], shard[1], shard[2])


def _array(image: Image, folder: Path, level: Level) -> dict[str, Any]:
    size = np.dtype(image.dtype).itemsize
    channels = [image.channels] if image.channels else []
    one = [1 for _ in channels]
    chunk, shard = _sides(image, level)
    blosc = {"cname": "zstd", "clevel": 1, "typesize": size, "blocksize": 0}
    blosc["shuffle"] = "shuffle" if size > 1 else "noshuffle"
    plain = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": [*one, *chunk],
        "codecs": [plain if size > 1 else {"name": "bytes"}, _named("blosc", blosc)],
        "index_codecs": [plain, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "driver": "zarr3",
        "kvstore": _store(folder),
        "metadata": {
            "shape": [*channels, *level.shape],
            "data_type": np.dtype(image.dtype).name,
            "chunk_grid": _named("regular", {"chunk_shape": [*one, *shard]}),
            "chunk_key_encoding": _named("default", {"separator": "/"}),
            "fill_value": 0,
            "codecs": [_named("sharding_indexed", sharding)],
            "dimension_names": [*("c" for _ in channels), "z", "y", "x"],
        },
    }


def _named(name: str, configuration: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def _group(folder: Path, metadata: dict[str, Any]) -> None:
    attributes = {"ome": {"version": VERSION, **metadata}}
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    commit_over(folder / "zarr.json", json.dumps(group, indent=1).encode())


def _metadata(plan: Plan, image: Image, inside_of_raw: bool) -> dict[str, Any]:
    space = Space.of(plan)
    levels = enumerate(levels_of(plan))
    at = [(n, placed(space, level.steps, plan.part.lo, image.channels)) for n, level in levels]
    multiscale = {
        "name": image.title,
        "type": "mode" if image.is_label else "mean",
        "axes": axes(space, image.channels),
        "datasets": [{"path": str(n), "coordinateTransformations": where} for n, where in at],
    }
    found: dict[str, Any] = {"multiscales": [multiscale]}
    if image.is_label:
        found["image-label"] = _label(plan, image, inside_of_raw)
    return found


def _label(plan: Plan, image: Image, inside_of_raw: bool) -> dict[str, Any]:
    """Colours and names of the classes; a mask has one, with the value 1."""
    classes = list(zip(plan.classifier.labels, colors_of(plan.classifier), strict=True))
    if image.name != LABELS:
        classes = [classes[image.value - 1]]
    numbered = list(enumerate(classes, start=1))
    found: dict[str, Any] = {
        "colors": [{"label-value": n, "rgba": [*map(int, c), 255]} for n, (_, c) in numbered],
        "properties": [{"label-value": n, "class": label} for n, (label, _) in numbered],
    }
    return {**found, "source": {"image": "../../"}} if inside_of_raw else found
