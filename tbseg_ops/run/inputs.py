"""What a volume and its mask hold, slice by slice: plan stores it, changes compares it."""

import os
from concurrent.futures import ThreadPoolExecutor
from math import ceil

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Index
from tbseg_ops.run import Inputs
from tbseg_ops.run.result import Progress
from tbseg_ops.volume import Source, open_source


def read_inputs(source: Source, mask: str | None, progress: Progress) -> Inputs:
    """Names and fingerprints of all slices of an open volume and, if there is one, of its mask.

    Every byte is read once. InputError if a slice changes meanwhile, or the mask does not fit.
    """
    inputs = Inputs(slices=tuple(source.slices), fingerprints=_fingerprints(source, progress))
    return inputs if mask is None else _with_mask(inputs, mask, source.info.shape, progress)


def _fingerprints(source: Source, progress: Progress) -> tuple[str, ...]:
    """The digest of each slice, several at a time: reading is what takes the time."""
    n = source.info.shape[0]
    step = max(1, min(16, ceil(n / 64)))
    step = ceil(step / source.layers) * source.layers  # else a chunk is decoded several times
    found: list[str] = []
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        parts = pool.map(lambda z: source.fingerprints(z, min(z + step, n)), range(0, n, step))
        for part in parts:
            found.extend(part)
            progress("slices", "read", len(found), n)
    return tuple(found)


def _with_mask(inputs: Inputs, mask: str, shape: Index, progress: Progress) -> Inputs:
    """The inputs and the fingerprints of a mask that fits the volume."""
    with open_source(mask) as source:
        if source.info.shape != shape or source.info.channels != 1:
            raise InputError(
                "the mask does not fit the volume",
                file=mask,
                expected=f"shape {shape} (z, y, x), 1 channel",
                found=f"shape {source.info.shape}, {source.info.channels} channel(s)",
                mend="give a mask of the volume's own size, 0 where nothing is to be computed",
            )
        return inputs.model_copy(
            update={
                "mask_slices": tuple(source.slices),
                "mask_fingerprints": _fingerprints(source, progress),
            }
        )
