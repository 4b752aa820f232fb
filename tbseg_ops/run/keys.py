"""Identities of what is made of a whole run: the merged file, and its verification."""

from tbseg_ops.run.outputs import output_names
from tbseg_ops.run.plan import Plan
from tbseg_ops.run.records import Record
from tbseg_ops.stored import digest_of

WHOLE = "volume"  # the name of the records that stand for the whole volume


def merge_key(plan: Plan, records: list[Record]) -> str:
    """Identity of the merged file: every tile's chunks, and how they are put together."""
    return digest_of(
        {
            "step": "merge",
            "tiles": [[r.name, r.key, r.chunks] for r in records],
            "grid": plan.grid_model.model_dump(),
            "names": output_names(plan),
            "labels": [ascii(label) for label in plan.classifier.labels],
            "colors": plan.classifier.colors,
            "voxel": [plan.volume.voxel_size, plan.volume.unit],
        }
    )


def verify_key(merged: str) -> str:
    """Identity of a verification: what was verified."""
    return digest_of({"step": "verify", "merge": merged})
