"""ingest: the slices become one 3D dataset, volume.h5:/volume (z, y, x or z, y, x, c).

One file per z slab, so that many workers write at once without a parallel HDF5 library;
``volume.h5`` is a virtual dataset over them.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.commit import commit_over
from tbseg_ops.run.files import RAW, content_of_arrays, describe, image_of, raw_shape
from tbseg_ops.run.finish import Done, Made, finish
from tbseg_ops.run.plan import Slab, slab_chunk
from tbseg_ops.steps.result import Progress, StepResult, silent, told
from tbseg_ops.steps.work import Workplace


def ingest(*, run: Path, team: Team | None = None, progress: Progress = silent) -> StepResult:
    """Write all slabs of the plan that are not there yet, and the dataset over them.

    InputError if a slice is not what it was when the plan was made.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    slabs = folder.plan.slabs
    computed, files = 0, {}
    with folder.swept(team.is_root):
        for done in team.map(_Ingest(Workplace.of(folder)), range(len(slabs))):
            computed += done.computed
            files[done.record.name] = done.record.file
            progress(done.record.name, told(done), len(files), len(slabs))
        if team.is_root:
            _join(folder, [files[slab.name] for slab in slabs])
    return StepResult(
        step="ingest",
        computed=computed,
        reused=len(files) - computed,
        seconds=round(time.perf_counter() - start, 3),
        file=str(folder.volume_file),
    )


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
        part = self.place.source.read(slab.z0, slab.z1)
        for z, found in enumerate(part.fingerprints, start=slab.z0):
            if found != inputs.fingerprints[z]:
                raise InputError(
                    "the input changed since the plan was made",
                    file=inputs.slices[z],
                    expected=f"content {inputs.fingerprints[z][:16]}",
                    found=f"content {found[:16]}",
                    mend="make the plan again (tbseg plan, or the task plan)",
                )
        box = Box((slab.z0, 0, 0), (slab.z1, *plan.volume.shape[1:]))
        array = part.array.reshape(raw_shape(plan, box))
        content = content_of_arrays({RAW: array})

        def fill(file: h5py.File) -> None:
            dataset = file.create_dataset(
                RAW,
                data=array,
                chunks=slab_chunk(plan.volume.shape, slab) + array.shape[3:],
                fletcher32=True,  # a flipped bit on disk is an error when it is read, not a voxel
            )
            describe(dataset, plan)
            file.attrs["key"] = key
            file.attrs["content"] = content

        return Made(image_of(fill), content)


def _join(folder: RunFolder, files: list[str]) -> None:
    """Write volume.h5: the slabs one behind the other in z, without copying a voxel."""
    plan = folder.plan
    whole = Box((0, 0, 0), plan.volume.shape)
    layout = h5py.VirtualLayout(shape=raw_shape(plan, whole), dtype=np.dtype(plan.volume.dtype))
    for slab, name in zip(plan.slabs, files, strict=True):
        box = Box((slab.z0, 0, 0), (slab.z1, *plan.volume.shape[1:]))
        layout[slab.z0 : slab.z1] = h5py.VirtualSource(name, RAW, shape=raw_shape(plan, box))

    def fill(file: h5py.File) -> None:
        describe(file.create_virtual_dataset(RAW, layout, fillvalue=0), plan)

    image = image_of(fill)
    path = folder.volume_file
    if not path.exists() or path.read_bytes() != image:
        commit_over(path, image)
