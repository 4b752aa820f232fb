"""A run as a whole, for the head of a page."""

from typing import Any

from tbseg_ops.run.done import own
from tbseg_ops.run.exports import exports
from tbseg_ops.run.removed import pruned
from tbseg_ops.view.paint import colors_of, hexadecimal
from tbseg_ops.view.tiles import RunView


def summary(view: RunView) -> dict[str, Any]:
    """What the run is of, and how far its steps are; tiles are counted by ``RunView.progress``."""
    folder, whole = view.folder, view.whole
    plan = folder.plan
    slabs = [own(folder, folder.slab(slab)) for slab in plan.slabs]
    gone = "export" in pruned(folder)
    exported = exports(folder, whole.key if whole.verified and not gone else None)
    return {
        "name": folder.path.name,
        "folder": str(folder.path),
        "volume": plan.spec.volume,
        "classifier": plan.spec.classifier,
        "classifier_digest": plan.classifier.digest,
        "engine": f"{plan.spec.engine}, version {plan.engine_version}",
        "shape": plan.shape,
        "part": None if plan.spec.box is None else str(plan.spec.box),
        "dtype": plan.volume.dtype,
        "voxel_size": plan.volume.voxel_size,
        "unit": plan.volume.unit,
        "grid": plan.grid.counts,
        "core": plan.grid_model.core,
        "halo": plan.grid_model.halo,
        "classes": [
            {"label": label, "color": hexadecimal(color)}
            for label, color in zip(plan.classifier.labels, colors_of(plan.classifier), strict=True)
        ],
        "batch_size": plan.batch_size,
        "slabs": {"done": sum(s is not None and s.is_there for s in slabs), "total": len(slabs)},
        "merged": whole.merged,
        "verified": whole.verified,
        "exports": [{"path": str(path), "is_there": there} for path, there in exported],
        "exports_removed": gone,
        "report": whole.merged and folder.report_file.is_file(),
        "called_off": folder.called_off_file.exists(),
        "warnings": plan.warnings,
        "notes": plan.notes,
        "revision": view.revision,
    }
