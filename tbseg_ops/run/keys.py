"""The key of each kind of piece: what the piece is made from, and nothing else.

Equal keys mean equal content, in any run and on any machine: a change here makes everything be
computed again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tbseg_ops.geometry import Tile
from tbseg_ops.run.outputs import output_names
from tbseg_ops.run.plan import CHECKED, Inputs, Plan, Slab, slab_chunk
from tbseg_ops.run.records import Record
from tbseg_ops.stored import digest_of


def of_slab(plan: Plan, inputs: Inputs, slab: Slab) -> str:
    read = plan.read
    part: dict[str, Any] = {}
    if plan.spec.box is not None:
        part["part"] = [read.lo[1:], read.hi[1:]]
    if plan.refers:  # to these files: the same slices elsewhere are another slab
        part["refers"] = [plan.spec.volume, inputs.slices[slab.z0 : slab.z1]]
    return digest_of(
        {
            **part,
            "step": "ingest",
            "slices": inputs.fingerprints[slab.z0 : slab.z1],
            "mask": inputs.mask_fingerprints[slab.z0 : slab.z1],
            "shape": plan.volume.shape[1:],
            "channels": plan.volume.channels,
            "dtype": plan.volume.dtype,
            "chunk": CHECKED if plan.refers else slab_chunk(read.shape, slab),
        }
    )


def of_sub_volume(plan: Plan, inputs: Inputs, tile: Tile) -> str:
    box, core = (each.shifted(plan.part.lo) for each in (tile.box, tile.core))
    virtual = plan.spec.split == "virtual"  # then the file says where in volume.h5 the tile is
    part = {"part": plan.read.lo} if virtual and plan.spec.box is not None else {}
    return digest_of(
        {
            **part,
            "step": "split",
            "mode": plan.spec.split,
            "slices": inputs.fingerprints[box.lo[0] : box.hi[0]],
            "mask": inputs.mask_fingerprints[core.lo[0] : core.hi[0]],
            "box": [box.lo, box.hi],
            "core": [core.lo, core.hi],
            "shape": None,
            "channels": plan.volume.channels,
            "dtype": plan.volume.dtype,
        }
    )


def shared(plan: Plan) -> dict[str, Any]:
    """What the class files of all tiles of a plan have in common in their keys."""
    computed: dict[str, Any] = {
        "features": [f.model_dump() for f in plan.classifier.features_for(plan.volume.shape)],
        "classifier": plan.classifier.digest,
        "engine": [plan.spec.engine, plan.engine_version],
    }
    if (first := plan.classifier.first) is not None:
        computed["first"] = [f.model_dump() for f in first.features_for(plan.volume.shape)]
    return computed


def of_classes(plan: Plan, content: str, tile: Tile, shared: Mapping[str, Any]) -> tuple[str, str]:
    """The key of a tile's class file, and the identity of what the engine computes for it.

    ``content``: digest of the tile's raw voxels, halo included, and of its mask. ``shared``: that
    of the plan.
    """
    core = tile.core.relative_to(tile.box.lo)
    computed = {**shared, "raw": content, "core": [core.lo, core.hi]}
    written = {
        "chunk": plan.grid_model.chunk,
        "output": plan.spec.output,
        "probabilities": plan.probability_labels,
        "probability_dtype": plan.spec.probability_dtype,
    }
    return (
        digest_of({"step": "classify", **computed, **written}),
        digest_of({"step": "predict", **computed}),
    )


def of_merged(plan: Plan, records: Sequence[Record]) -> str:
    """``records``: of all tiles' class files, in grid order."""
    part = {} if plan.spec.box is None else {"offset": plan.part.lo}
    return digest_of(
        {
            **part,
            "step": "merge",
            "tiles": [[r.name, r.key, r.chunks] for r in records],
            "grid": plan.grid_model.model_dump(),
            "names": output_names(plan),
            "labels": [ascii(label) for label in plan.classifier.labels],
            "colors": plan.classifier.colors,
            "voxel": [plan.volume.voxel_size, plan.volume.unit],
        }
    )


def of_verified(merged: str) -> str:
    """``merged``: the key of what was verified."""
    return digest_of({"step": "verify", "merge": merged})
