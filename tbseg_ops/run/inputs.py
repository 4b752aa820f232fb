"""What a volume and its mask hold, slice by slice: plan stores it, changes compares it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from math import ceil
from typing import NamedTuple

from tbseg_ops.classifier import Passport
from tbseg_ops.geometry import Index
from tbseg_ops.run import Inputs, RunSpec
from tbseg_ops.run.plan import Slab
from tbseg_ops.run.result import Progress
from tbseg_ops.storage.stale import once_more
from tbseg_ops.volume import Slices, Source, VolumeInfo, open_mask

_SLABS_AT_ONCE = 4  # each takes as much memory as one worker of ingest


class Look(NamedTuple):
    """Who sees the voxels while they are read for their fingerprints, slab by slab."""

    slabs: Sequence[Slab]
    see: Callable[[Slab, Slices], None]


def read_inputs(
    source: Source,
    mask: Source | None,
    progress: Progress,
    part: tuple[int, int] | None = None,
    look: Look | None = None,
) -> Inputs:
    """Names and fingerprints of all slices of an open volume and, if there is one, of its mask.

    ``part``: the slices z0 <= z < z1 alone are read; the fingerprints of all others are "".
    ``look``: of the volume, whose slices in that part its slabs are.
    Every byte is read once. InputError if a slice changes meanwhile.
    """
    shape = source.info.shape
    part = part or (0, shape[0])
    found = _fingerprints(source, progress, part, look)
    inputs = Inputs(slices=tuple(source.slices), fingerprints=found)
    if mask is None:
        return inputs
    return inputs.model_copy(
        update={
            "mask_slices": tuple(mask.slices),
            "mask_fingerprints": _fingerprints(mask, progress, part),
        }
    )


def mask_of(spec: RunSpec, shape: Index) -> AbstractContextManager[Source | None]:
    """The mask of a spec, for a volume of ``shape``; InputError at once if it does not fit."""
    return nullcontext() if spec.mask is None else open_mask(spec.mask, shape)


def read_slices(spec: RunSpec, passport: Passport, info: VolumeInfo) -> tuple[int, int]:
    """The slices z0 <= z < z1 that a run reads: those of its part and what their halo sees."""
    read = spec.part(info.shape).grown(passport.halo_for(info.shape), info.shape)
    return read.lo[0], read.hi[0]


def _fingerprints(
    source: Source, progress: Progress, part: tuple[int, int], look: Look | None = None
) -> tuple[str, ...]:
    """The digest of each slice, several at a time: reading is what takes the time.

    The last slices are read first: what is left of the volume in the machine's memory are then the
    first, with which the next step begins.
    """
    first, end = part
    n = end - first
    step = max(1, min(16, ceil(n / 64)))
    step = ceil(step / source.layers) * source.layers  # else a chunk is decoded several times
    found: list[tuple[str, ...]] = []
    done = 0
    cores = os.cpu_count() or 1

    def read(z: int) -> tuple[str, ...]:
        return once_more(source.fingerprints, z, min(z + step, end))

    def seen(slab: Slab) -> tuple[str, ...]:
        assert look is not None
        slices = once_more(source.read, slab.z0, slab.z1)
        look.see(slab, slices)
        return slices.fingerprints

    with ThreadPoolExecutor(min(_SLABS_AT_ONCE, cores) if look else min(8, 2 * cores)) as pool:
        several = (
            pool.map(seen, look.slabs[::-1])
            if look
            else pool.map(read, range(first, end, step)[::-1])
        )
        for some in several:
            found.append(some)
            done += len(some)
            progress("slices", "read", done, n)
    prints = tuple(chain.from_iterable(reversed(found)))
    return ("",) * first + prints + ("",) * (len(source.slices) - end)
