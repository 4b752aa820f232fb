"""ingest: the slices become one 3D dataset, volume.h5:/volume (z, y, x or z, y, x, c).

One file per z slab, so that many workers write at once without a parallel HDF5 library;
``volume.h5`` is a virtual dataset over them.
"""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import content_of_arrays, image_of, stamp
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.finish import Done, Facts, How, Made, finish
from tbseg_ops.run.outputs import MASK, RAW, describe, raw_shape
from tbseg_ops.run.plan import Slab, slab_chunk
from tbseg_ops.run.result import Progress, StepResult, counted, silent, told
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.storage.commit import commit_over


def ingest(*, run: Path, team: Team | None = None, progress: Progress = silent) -> StepResult:
    """Write all slabs of the plan that are not there yet, and the dataset over them.

    InputError if a slice is not what it was when the plan was made.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    slabs = folder.plan.slabs
    hows: Counter[How] = Counter()
    files = {}
    with folder.swept(team.is_root):
        for done in team.map(_Ingest(Workplace.of(folder)), range(len(slabs))):
            hows[done.how] += 1
            files[done.record.name] = done.record.file
            progress(done.record.name, told(done), len(files), len(slabs))
        if team.is_root:
            _join(folder, [files[slab.name] for slab in slabs])
    seconds = time.perf_counter() - start
    return counted("ingest", hows, seconds, str(folder.volume_file))


@dataclass(frozen=True)
class _Ingest:
    place: Workplace

    def __call__(self, number: int) -> Done:
        folder = self.place.folder
        slab = folder.plan.slabs[number]
        key = folder.plan.slab_key(folder.inputs, slab)
        return finish(
            folder,
            "ingest",
            slab.name,
            key,
            folder.slab_file(slab.name, key),
            lambda: self._make(slab, key),
        )

    def _make(self, slab: Slab, key: str) -> Made:
        folder = self.place.folder
        plan, inputs = folder.plan, folder.inputs
        raw = self.place.source.read(slab.z0, slab.z1, inputs.fingerprints).array
        box = Box((slab.z0, 0, 0), (slab.z1, *plan.volume.shape[1:]))
        arrays = {RAW: raw.reshape(raw_shape(plan, box))}
        if self.place.mask is not None:
            mask = self.place.mask.read(slab.z0, slab.z1, inputs.mask_fingerprints).array
            arrays[MASK] = (mask[..., 0] != 0).astype(np.uint8)
        content = content_of_arrays(arrays)

        def fill(file: h5py.File) -> None:
            for name, array in arrays.items():
                dataset = file.create_dataset(
                    name,
                    data=array,
                    chunks=slab_chunk(plan.volume.shape, slab) + array.shape[3:],
                    compression="gzip" if name == MASK else None,
                    fletcher32=True,  # a flipped bit on disk is an error when read, not a voxel
                )
                describe(dataset, plan)
            stamp(file, key=key, content=content)

        return Made(image_of(fill), Facts(content))


def _join(folder: RunFolder, files: list[str]) -> None:
    """Write volume.h5: the slabs one behind the other in z, without copying a voxel."""
    plan = folder.plan

    def fill(file: h5py.File) -> None:
        dtypes = {RAW: plan.volume.dtype} | ({MASK: "uint8"} if plan.spec.mask else {})
        for name, dtype in dtypes.items():
            more = (plan.volume.channels,) if name == RAW and plan.volume.channels > 1 else ()
            layout = h5py.VirtualLayout((*plan.volume.shape, *more), np.dtype(dtype))
            for slab, path in zip(plan.slabs, files, strict=True):
                shape = (slab.z1 - slab.z0, *plan.volume.shape[1:], *more)
                layout[slab.z0 : slab.z1] = h5py.VirtualSource(path, name, shape=shape)
            describe(file.create_virtual_dataset(name, layout, fillvalue=0), plan)

    image = image_of(fill)
    path = folder.volume_file
    if not path.exists() or path.read_bytes() != image:
        commit_over(path, image)
