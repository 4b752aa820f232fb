"""The report of a run: one HTML page with all that it shows inside."""

import base64
import shlex
from collections import Counter
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tbseg_ops import __version__
from tbseg_ops.forecast.model import stored_forecast
from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened
from tbseg_ops.report.comparison import compared
from tbseg_ops.report.crate import RecordsByStep
from tbseg_ops.run import RunFolder
from tbseg_ops.run.outputs import LABELS, encoded
from tbseg_ops.run.proof import stored_proof
from tbseg_ops.run.raw import read_volume
from tbseg_ops.run.status import Status
from tbseg_ops.view.paint import colors_of, hexadecimal, png, range_of, stretched

if TYPE_CHECKING:
    import jinja2

_VIEW = 640  # voxels a side of the part that is pictured, at full resolution
_OVERLAY = 0.45


def page_of(folder: RunFolder, done: RecordsByStep, state: Status) -> bytes:
    """The HTML of ``report.html`` for a merged run; ``done``: the records of each step."""
    page = _environment().get_template("report.html.jinja").render(_facts(folder, done, state))
    # A folder's name need not be UTF-8: what is not is shown escaped.
    return page.encode(errors="backslashreplace")


def _environment() -> "jinja2.Environment":
    import jinja2  # not needed by whoever only classifies

    return jinja2.Environment(
        loader=jinja2.PackageLoader("tbseg_ops.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _facts(folder: RunFolder, done: RecordsByStep, state: Status) -> dict[str, object]:
    plan, records = folder.plan, done["classify"]
    passport = plan.classifier
    counts = [sum(n) for n in zip(*(r.counts for r in records), strict=True)]
    voxels = sum(counts)  # without those outside of the mask
    colors = colors_of(passport)
    return {
        "name": folder.path.name,
        "folder": folder.path,
        "shell_folder": shlex.quote(str(folder.path)),
        "plan": plan,
        "spec": plan.spec,
        "passport": passport,
        "tiles": len(plan.grid),
        "classes": [
            {
                "label": label,
                "dataset": f"/classes/{name}",
                "color": hexadecimal(color),
                "count": count,
                "share": count / max(voxels, 1),
            }
            for label, name, color, count in zip(
                passport.labels, encoded(passport.labels), colors, counts, strict=True
            )
        ],
        "outside": prod(plan.shape) - voxels,
        "views": _views(folder, colors),
        "steps": _steps(done),
        "forecast": stored_forecast(folder),
        "comparisons": compared(folder, records),
        "hosts": sorted({r.host for r in records}),
        "not_finite": sum(r.not_finite for r in records),
        "redone": [r.name for r in records if r.attempts > 1],
        "taken": Counter(r.origin for r in records if r.origin).most_common(),
        "derived": sum(r.derived and not r.origin for r in records),
        "proof": stored_proof(folder, done["merge"][0].key),
        "status": state,
        "size": folder.segmentation_file.stat().st_size,
        "version": __version__,
    }


def _steps(done: RecordsByStep) -> list[dict[str, object]]:
    """Pieces of each step, and the summed working seconds of those made here, over all workers."""
    return [
        {
            "step": step,
            "pieces": len(records),
            "taken": sum(bool(r.origin) for r in records),
            "seconds": sum(r.seconds for r in records if not r.origin),
            "bytes": sum(r.size for r in records if r.kept) if step != "verify" else 0,
        }
        for step, records in done.items()
    ]


def _views(folder: RunFolder, colors: list[tuple[int, int, int]]) -> list[dict[str, str]]:
    """Pictures through the middle of the volume: raw, and raw with the classes over it."""
    shape = folder.plan.shape
    views = []
    for title, axis in (("z (y down, x right)", 0), ("y (z down, x right)", 1)):
        if shape[axis] == 1 or min(n for a, n in enumerate(shape) if a != axis) < 2:
            continue
        z, y, x = (1 if a == axis else _VIEW for a in range(3))
        box = Box.middle(shape, (z, y, x))
        raw = read_volume(folder, box, box).raw[..., 0].squeeze(axis)
        with opened(folder.segmentation_file) as file:
            labels = file[LABELS][box.slices].squeeze(axis)
        grey = stretched(raw, range_of(raw))
        palette = np.array([(0, 0, 0), *colors], np.float32)
        colored = (1 - _OVERLAY) * grey[..., None] + _OVERLAY * palette[labels]
        views.append(
            {
                "title": f"middle of {title}, {'zyx'[axis]} = {box.lo[axis]}",
                "raw": _png(grey.astype(np.uint8)),
                "classes": _png(colored.astype(np.uint8)),
            }
        )
    return views


def _png(image: NDArray[np.uint8]) -> str:
    return base64.b64encode(png(image)).decode()
