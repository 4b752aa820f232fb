"""publish: a self-contained HTML report and an RO-Crate: what was done, and from what."""

import base64
import time
from collections import Counter
from collections.abc import Iterable
from math import prod
from pathlib import Path

import imagecodecs
import jinja2
import numpy as np
from numpy.typing import NDArray

from tbseg_ops import __version__
from tbseg_ops.geometry import Box, Index
from tbseg_ops.run import RunFolder
from tbseg_ops.run.commit import commit_over
from tbseg_ops.run.files import LABELS, encoded, opened
from tbseg_ops.run.records import Record, Step
from tbseg_ops.steps.crate import Done, crate_of
from tbseg_ops.steps.merge import WHOLE
from tbseg_ops.steps.reality import compared
from tbseg_ops.steps.result import Progress, StepResult, silent
from tbseg_ops.steps.split import read_volume
from tbseg_ops.steps.status import Status, status
from tbseg_ops.steps.verify import check_identity

_VIEW = 640  # voxels a side of the part that is pictured, at full resolution
_OVERLAY = 0.45


class Published(StepResult):
    """``file`` is the report, ``result`` the merged file; ``digest`` tells what its arrays hold."""

    run: str
    result: str
    digest: str
    crate: str


def publish(*, run: Path, progress: Progress = silent) -> Published:
    """Write ``report.html`` and ``ro-crate-metadata.json`` from the merged file and the records.

    IntegrityError if the run is not merged.
    """
    start = time.perf_counter()
    folder = RunFolder(run)
    _, records = check_identity(folder)
    done, state = _done(folder, records), status(run=folder.path)
    page = _environment().get_template("report.html.jinja").render(_facts(folder, done, state))
    # A folder's name need not be UTF-8: what is not is shown escaped.
    commit_over(folder.report_file, page.encode(errors="backslashreplace"))
    progress("report", "written", 1, 2)
    commit_over(folder.crate_file, crate_of(folder, done, state.verified))
    progress("crate", "written", 2, 2)
    return Published(
        step="publish",
        computed=1,
        reused=0,
        seconds=round(time.perf_counter() - start, 3),
        file=str(folder.report_file),
        run=str(folder.path),
        result=str(folder.segmentation_file),
        digest=done["merge"][0].content,
        crate=str(folder.crate_file),
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("tbseg_ops.steps", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _facts(folder: RunFolder, done: Done, state: Status) -> dict[str, object]:
    plan, records = folder.plan, done["classify"]
    passport = plan.classifier
    counts = [sum(n) for n in zip(*(r.counts for r in records), strict=True)]
    voxels = sum(counts)  # without those outside of the mask
    colors = _colors(len(passport.labels), passport.colors)
    return {
        "name": folder.path.name,
        "folder": folder.path,
        "plan": plan,
        "spec": plan.spec,
        "passport": passport,
        "tiles": len(plan.grid),
        "classes": [
            {
                "label": label,
                "dataset": f"/classes/{name}",
                "color": "#{:02x}{:02x}{:02x}".format(*color),
                "count": count,
                "share": count / max(voxels, 1),
            }
            for label, name, color, count in zip(
                passport.labels, encoded(passport.labels), colors, counts, strict=True
            )
        ],
        "outside": prod(plan.volume.shape) - voxels,
        "views": _views(folder, colors),
        "steps": _steps(done),
        "forecast": folder.stored_forecast(),
        "comparisons": compared(folder, records),
        "hosts": sorted({r.host for r in records}),
        "not_finite": sum(r.not_finite for r in records),
        "redone": [r.name for r in records if r.attempts > 1],
        "taken": Counter(r.origin for r in records if r.origin).most_common(),
        "derived": sum(r.derived and not r.origin for r in records),
        "status": state,
        "size": folder.segmentation_file.stat().st_size,
        "version": __version__,
    }


def _done(folder: RunFolder, records: list[Record]) -> Done:
    """The records of each step; ``records`` are those of classify."""
    return {
        "ingest": _of(folder, "ingest", [s.name for s in folder.plan.slabs]),
        "split": _of(folder, "split", [r.name for r in records]),
        "classify": records,
        "merge": _of(folder, "merge", [WHOLE]),
        "verify": _of(folder, "verify", [WHOLE]),
    }


def _steps(done: Done) -> list[dict[str, object]]:
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


def _of(folder: RunFolder, step: Step, names: Iterable[str]) -> list[Record]:
    ledger = folder.records(step)
    return [record for name in names if (record := ledger.get(name)) is not None]


def _views(folder: RunFolder, colors: list[tuple[int, int, int]]) -> list[dict[str, str]]:
    """Pictures through the middle of the volume: raw, and raw with the classes over it."""
    shape = folder.plan.volume.shape
    views = []
    for title, axis in (("z (y down, x right)", 0), ("y (z down, x right)", 1)):
        if shape[axis] == 1 or min(n for a, n in enumerate(shape) if a != axis) < 2:
            continue
        box = _middle(shape, axis)
        raw = read_volume(folder, box, box).raw[..., 0].squeeze(axis)
        with opened(folder.segmentation_file) as file:
            labels = file[LABELS][box.slices].squeeze(axis)
        grey = _stretched(raw)
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


def _middle(shape: Index, axis: int) -> Box:
    """A plane through the middle, at most ``_VIEW`` voxels a side."""
    lo, hi = [], []
    for a, n in enumerate(shape):
        side = 1 if a == axis else min(n, _VIEW)
        lo.append((n - side) // 2)
        hi.append((n - side) // 2 + side)
    return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))


def _stretched(raw: NDArray[np.generic]) -> NDArray[np.float32]:
    """Grey values 0..255 between the 0.5th and the 99.5th percentile of the finite voxels."""
    values = raw.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(values) - low) * (255.0 / max(float(high - low), 1e-12))
    return np.clip(scaled, 0, 255).astype(np.float32)


def _png(image: NDArray[np.uint8]) -> str:
    return base64.b64encode(imagecodecs.png_encode(np.ascontiguousarray(image))).decode()


def _colors(count: int, stored: tuple[tuple[int, int, int], ...]) -> list[tuple[int, int, int]]:
    """The classifier's own label colours, with greys where it has none."""
    return [stored[i] if i < len(stored) else (128, 128, 128) for i in range(count)]
