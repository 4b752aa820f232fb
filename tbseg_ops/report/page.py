"""The report of a run: one HTML page with all that it shows inside."""

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tbseg_ops import __version__
from tbseg_ops.forecast.model import stored_forecast
from tbseg_ops.forecast.words import duration, size
from tbseg_ops.report.comparison import compared, span_of
from tbseg_ops.report.crate import RecordsByStep
from tbseg_ops.report.scenes import odd_scenes, scenes
from tbseg_ops.run import RunFolder
from tbseg_ops.run.outputs import encoded
from tbseg_ops.run.proof import stored_proof
from tbseg_ops.run.records import Record
from tbseg_ops.run.status import Status
from tbseg_ops.view.paint import colors_of, hexadecimal
from tbseg_ops.view.zarr import Space

if TYPE_CHECKING:
    import jinja2


def page_of(folder: RunFolder, done: RecordsByStep, state: Status) -> bytes:
    """The HTML of ``report.html`` for a merged run; ``done``: the records of each step."""
    page = _environment().get_template("report.html.jinja").render(_facts(folder, done, state))
    # A folder's name need not be UTF-8: what is not is shown escaped.
    return page.encode(errors="backslashreplace")


def _environment() -> "jinja2.Environment":
    import jinja2  # not needed by whoever only classifies

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tbseg_ops.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": size, "hours": duration}
    return environment


def _facts(folder: RunFolder, done: RecordsByStep, state: Status) -> dict[str, object]:
    plan, records = folder.plan, done["classify"]
    passport = plan.classifier
    counts = [sum(n) for n in zip(*(r.counts for r in records), strict=True)]
    voxels = sum(counts)  # without those outside of the mask
    colors, space = colors_of(passport), Space.of(plan)
    oddest, odd = odd_scenes(folder, records)
    return {
        "about": _about(folder, records),
        "name": folder.path.name,
        "folder": folder.path,
        "shell_folder": shlex.quote(str(folder.path)),
        "plan": plan,
        "spec": plan.spec,
        "passport": passport,
        "tiles": len(plan.grid),
        "classes": [
            {
                "value": value,
                "label": label,
                "dataset": f"/classes/{name}",
                "color": hexadecimal(color),
                "count": count,
                "share": count / max(voxels, 1),
                "space": _volume(count, space),
            }
            for value, (label, name, color, count) in enumerate(
                zip(passport.labels, encoded(passport.labels), colors, counts, strict=True), start=1
            )
        ],
        "outside": prod(plan.shape) - voxels,
        "scenes": scenes(folder),
        "oddest": oddest,
        "odd": odd,
        "exported": [
            (quote(str(Path(path).relative_to(folder.path))), Path(path).name)
            for path in state.exported
        ],
        "steps": _steps(done),
        "forecast": stored_forecast(folder),
        "comparisons": compared(folder, records),
        "not_finite": sum(r.not_finite for r in records),
        "redone": [r.name for r in records if r.attempts > 1],
        "taken": Counter(r.origin for r in records if r.origin).most_common(),
        "derived": sum(r.derived and not r.origin for r in records),
        "proof": stored_proof(folder, done["merge"][0].key),
        "status": state,
        "size": folder.segmentation_file.stat().st_size,
        "version": __version__,
    }


def _about(folder: RunFolder, records: Sequence[Record]) -> dict[str, str]:
    """The first that people ask: when, by whom, how long, how fast, where."""
    result = folder.segmentation_file.stat().st_mtime
    began = folder.plan_file.stat().st_mtime
    found = {
        "finished": f"{datetime.fromtimestamp(result, UTC):%Y-%m-%d %H:%M} UTC",
        "by": _owner(folder),
    }
    if began < result:  # not so if the plan was made again over a result that still holds
        found["from plan to result"] = duration((result - began) / 3600)
    span = span_of(folder, records)
    if span is not None:
        speed = span.voxels / max(span.seconds, 1e-3)
        found["classified"] = (
            f"{span.voxels:,} voxels in {duration(span.seconds / 3600)}: {speed:,.0f} voxels/s"
        )
    hosts = Counter(r.host for r in records).most_common()
    found["on"] = ", ".join(f"{host} ({number:,} tiles)" for host, number in hosts)
    return found


def _owner(folder: RunFolder) -> str:
    """Whose the plan is: the account that began the run."""
    try:
        return folder.plan_file.owner()
    except KeyError:  # an account that this machine does not know
        return f"user {folder.plan_file.stat().st_uid}"


def _volume(voxels: int, space: Space) -> str | None:
    """Voxels as µm³, or mm³ if there are many; None if the size of a voxel is not known."""
    if space.unit is None:
        return None
    found = voxels * prod(space.voxel) * (space.metres * 1e6) ** 3
    if found >= 1e7:
        return f"{found / 1e9:,.3f} mm³"
    return f"{found:,.0f} µm³" if found >= 100 else f"{found:.3g} µm³"


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
