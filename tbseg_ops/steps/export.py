"""export: what a run gave, as OME-Zarr or TIFF, in parallel; an export that was killed goes on."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tbseg_ops.errors import ConfigError
from tbseg_ops.export import omezarr, tiff
from tbseg_ops.export.draft import Draft, drafted
from tbseg_ops.export.images import RAW_NAME, Image, images_of
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress, StepResult, silent
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.settings import keep_inside
from tbseg_ops.steps.verify import check_bytes, check_identity
from tbseg_ops.stored import digest_of

Format = Literal["ome-zarr", "tiff", "tiff-slices"]
_FORM = 1  # rises when the same images are written otherwise


class Exported(StepResult):
    """``files``: what was written, or was there already."""

    files: tuple[str, ...]


def export(
    *,
    run: Path,
    to: Format,
    out: Path | None = None,
    what: Sequence[str] = (),
    team: Team | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write images of a merged run into the folder ``out`` (by default ``export`` in the run).

    ``what``: raw, labels, CLASS, class:CLASS, probabilities:CLASS; nothing stands for labels, of
    OME-Zarr for raw, labels and all probability maps that the run has. A finished export of the
    same is recognised, one that was killed goes on. InputError names what the run does not have;
    IntegrityError if it is not merged, or damaged.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    target = (out or folder.path / "export").absolute()
    keep_inside(target)
    images = images_of(folder.plan, what or _usual(folder, to))
    if "volume" in pruned(folder) and any(image.name == RAW_NAME for image in images):
        raise ConfigError(
            "tbseg gc has removed the volume of this run",
            file=folder.pruned_file,
            mend="export labels or classes (--what), or plan the run again and do all steps",
        )
    merged, records = check_identity(folder)
    check_bytes(folder, records)
    place, parts = Workplace(folder), _parts(folder, images, to)
    hows = []
    for name, inside in parts.items():
        key = digest_of([_FORM, to, merged.key, folder.plan.digest, [repr(i) for i in inside]])
        with drafted(target / name, key) as draft:
            hows.append(draft is not None)
            if draft is not None:
                _fill(place, draft, inside, to, team, progress)
    return Exported(
        step="export",
        computed=sum(hows),
        reused=len(hows) - sum(hows),
        seconds=round(time.perf_counter() - start, 3),
        file=str(target),
        files=tuple(str(target / name) for name in parts),
    )


def _usual(folder: RunFolder, to: Format) -> list[str]:
    labels = folder.plan.classifier.labels
    maps = [f"probabilities:{labels[i]}" for i in folder.plan.probability_labels]
    return ["raw", "labels", *maps] if to == "ome-zarr" else ["labels"]


def _parts(
    folder: RunFolder, images: list[Image], to: Format
) -> dict[str, list[tuple[str, Image]]]:
    """Each file or folder that is made, with its images and where in it they are."""
    if to == "ome-zarr":
        return omezarr.folders(images)
    ending = "" if to == "tiff-slices" else ".tif"
    return {f"{image.name}{ending}": [("", image)] for image in images}


def _fill(
    place: Workplace,
    draft: Draft,
    inside: list[tuple[str, Image]],
    to: Format,
    team: Team,
    progress: Progress,
) -> None:
    plan, path = place.folder.plan, draft.path
    slices, (_, image) = to == "tiff-slices", inside[0]
    rounds: Iterable[list[Any]]
    work: Callable[..., str]
    if to == "ome-zarr":
        make = partial(omezarr.create, plan, path, inside)
        rounds, work = omezarr.shards(plan, path, inside), omezarr.write
    else:
        make = partial(tiff.create, plan, image, path, slices)
        rounds, work = [list(tiff.pieces(plan, image, path, slices))], tiff.write
    if "created" not in draft.done:
        make()
        draft.finish("created")
    for pieces in rounds:
        left = [piece for piece in pieces if piece.name not in draft.done]
        for number, name in enumerate(team.map(partial(work, place), left), start=1):
            draft.finish(name)
            progress(
                f"{path.name} {name}", "written", len(pieces) - len(left) + number, len(pieces)
            )
