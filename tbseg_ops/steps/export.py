"""export: what a run gave, as OME-Zarr or TIFF, in parallel; an export that was killed goes on."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.export.draft import Draft, drafted
from tbseg_ops.export.pieces import Contents, Piece, digest, take
from tbseg_ops.options import Format
from tbseg_ops.run import Alone, RunFolder, Team
from tbseg_ops.run.done import own
from tbseg_ops.run.exports import Part, asked, parts_of, usual
from tbseg_ops.run.images import RAW_NAME, images_of
from tbseg_ops.run.removed import pruned
from tbseg_ops.run.result import Progress, StepResult, silent
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.settings import keep_inside
from tbseg_ops.steps.verify import check_bytes, check_identity


class Exported(StepResult):
    """``files``: what was written, or was there already."""

    files: tuple[str, ...]


def export(
    *,
    run: Path,
    to: Format | None = None,
    out: Path | None = None,
    what: Sequence[str] = (),
    team: Team | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write images of a merged run into the folder ``out`` (by default ``export`` in the run).

    Without ``to``: what the run itself asks for (``--publish``), for which it must be verified.
    ``what``: raw, labels, CLASS, class:CLASS, probabilities:CLASS; nothing stands for labels, of
    OME-Zarr for raw, labels and all probability maps that the run has. A finished export of the
    same is recognised, one that was killed goes on, and of one of an earlier result the pieces that
    are the same are taken over. InputError names what the run does not have; IntegrityError if it
    is not merged, not verified, or damaged; ResourceError if what was written is not on the disk.
    """
    start, team = time.perf_counter(), team or Alone()
    folder = RunFolder(run)
    target = (out or folder.exports).absolute()
    keep_inside(target)
    parts = _parts(folder, to, what)
    if parts:
        made = _export(folder, target, parts, team, progress, needs_verified=to is None)
    else:
        made = []
    return Exported(
        step="export",
        computed=sum(made),
        reused=len(made) - sum(made),
        seconds=round(time.perf_counter() - start, 3),
        file=str(target) if parts else None,
        files=tuple(str(target / part.name) for part in parts),
    )


def _parts(folder: RunFolder, to: Format | None, what: Sequence[str]) -> list[Part]:
    if to is None:
        return asked(folder.plan)
    plan = folder.plan
    return parts_of(images_of(plan, what) if what else usual(plan, to), to)


def _export(
    folder: RunFolder,
    target: Path,
    parts: list[Part],
    team: Team,
    progress: Progress,
    *,
    needs_verified: bool,
) -> list[bool]:
    """Of each part whether something was written."""
    of_raw = any(image.name == RAW_NAME for part in parts for _, image in part.inside)
    if "volume" in pruned(folder) and of_raw:
        raise ConfigError(
            "tbseg gc has removed the volume of this run",
            file=folder.pruned_file,
            mend="export labels or classes (--what), or plan the run again and do all steps",
        )
    merged, records = check_identity(folder)
    if needs_verified and own(folder, folder.verified(merged)) is None:
        raise IntegrityError(
            "the result is not verified, and is not exported before it is",
            file=folder.segmentation_file,
            mend=f"tbseg verify --run {folder.quoted}, then tbseg export {folder.quoted}",
        )
    check_bytes(folder, records)
    contents, made = Contents(folder, records), []
    for part in parts:
        with drafted(target / part.name, part.key(folder.plan, merged.key)) as draft:
            made.append(draft is not None)
            if draft is not None:
                _fill(Workplace(folder), draft, part, contents, team, progress)
    return made


def _fill(
    place: Workplace,
    draft: Draft,
    part: Part,
    contents: Contents,
    team: Team,
    progress: Progress,
) -> None:
    plan, path = place.folder.plan, draft.path
    slices, (_, image) = part.to == "tiff-slices", part.inside[0]
    rounds: Iterable[Sequence[Piece]]
    write: Callable[[Workplace, Any], None]
    # Loaded by who exports: tensorstore costs every other start of a program a quarter of a second.
    if part.to == "ome-zarr":
        from tbseg_ops.export import omezarr

        create = partial(omezarr.create, plan, path, part.inside)
        rounds, write = omezarr.shards(plan, path, part.inside, contents), omezarr.write
    else:
        from tbseg_ops.export import tiff

        create = partial(tiff.create, plan, image, path, slices)
        rounds, write = [list(tiff.pieces(plan, image, path, slices, contents))], tiff.write
    if "created" not in draft.done:
        create()
        draft.finish("created")
    for pieces in rounds:
        left = [(piece, _earlier(draft, piece)) for piece in pieces if piece.name not in draft.done]
        done = team.map(partial(_finish, place, write, draft.before), left)
        for number, (name, key, found, how) in enumerate(done, len(pieces) - len(left) + 1):
            draft.finish(name, key, found)
            progress(f"{path.name} {name}", how, number, len(pieces))


def _earlier(draft: Draft, piece: Piece) -> str | None:
    """The digest of the piece in what was exported of an earlier result, if it is the same."""
    key, found = draft.done_before.get(piece.name, ("", ""))
    return found if key == piece.key else None


def _finish(
    place: Workplace,
    write: Callable[[Workplace, Any], None],
    before: Path,
    work: tuple[Piece, str | None],
) -> tuple[str, str, str, str]:
    """Take a piece over, or write it; its name, its key, the digest of its files, how it came."""
    piece, earlier = work
    if earlier is not None and take(before, piece, earlier):
        return piece.name, piece.key, earlier, "taken over"
    write(place, piece)
    return piece.name, piece.key, digest(piece.root, piece.files), "written"
